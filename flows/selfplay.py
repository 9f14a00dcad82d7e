"""Rounds one after another: play, promote or roll back, stop. A run resumes from what is complete in the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from flows.force import withdraw
from flows.history import RunHistory, read_history, start_of, write_index
from flows.round import FOLDERS, Round, play_round, round_place
from flows.server.artifacts import publish_round
from flows.server.names import playing_name
from flows.server.parameters import Override, Rounds, RunName, StageName, Text
from flows.server.supervise import give_name, retried, supervised
from tasks.config import DEFAULT, RunConfig, load_config
from tasks.execution.flow_run import first_task_run
from tasks.execution.gpu_slots import using_gpus
from tasks.labelling.gold import reason_to_stop
from tasks.store import Store


@flow(name="self-play", persist_result=False)
def play_rounds(
    run: RunName = "default",
    rounds: Rounds = 1,
    config: Text = DEFAULT,
    overrides: tuple[Override, ...] = (),
    force_from_stage: StageName | None = None,
    wait: bool = False,
    approve: bool = False,
) -> list[Round]:
    """Play up to `rounds` more rounds; end early, with the reason in the last state, after too many bad rounds.

    The first round is always played, also in a run that has ended early before. The environment variable
    `ACTIVE_ZERO_STORE` of the process names the store.

    Args:
        run: The run to start or to resume.
        rounds: The most rounds to play, counted from the flow run's first start.
        config: A YAML file, or a name in configs/.
        overrides: Settings such as filter.low=0.5.
        force_from_stage: Play the round again from this stage on, although nothing has changed.
        wait: While another process plays the round, wait for it instead of failing.
        approve: Suspend before each promotion until somebody resumes the flow run (deployments only).
    """
    with supervised():
        order = RoundsToPlay(run, rounds, config, overrides, force_from_stage, wait or retried(), approve)
        return cast("list[Round]", _play(order))  # Prefect returns the data of the state to the caller


@dataclass(frozen=True)
class RoundsToPlay:
    """The parameters of `play_rounds`."""

    run: str
    rounds: int
    config: str
    overrides: tuple[str, ...]
    force_from_stage: str | None
    wait: bool
    approve: bool


def _play(order: RoundsToPlay) -> State[list[Round]]:
    """Play the rounds; the state in which the flow run ends says which, and why it ended early."""
    settings, store, played = load_config(order.config, order.overrides), Store.from_environment(), list[Round]()
    run = order.run
    if order.force_from_stage is not None:
        withdraw(store, run, order.force_from_stage, str(flow_run.id), order.wait)
    history = read_history(store, run)
    before, reason = min(order.rounds, rounds_before_retry(history)), None  # another run may have played on meanwhile
    give_name(playing_name(run, history.next_round - before, order.rounds))
    while len(played) < order.rounds - before and reason is None:
        number = read_history(store, run).next_round
        with round_place(store, run, number).hold(order.wait), using_gpus(settings.cluster_gpus):
            if read_history(store, run).next_round != number:
                continue  # another process held the lease and has completed the round
            start = start_of(settings, store, run, number)
            # Not a flow: a nested flow run would stay Running after a kill, and could not be suspended.
            played.append(play_round(settings, store, run, number, start, order.approve))
            publish_round(played[-1], store)
        write_index(store, run)
        reason = reason_to_end(settings, played[-1], read_history(store, run))
    message = _message(order, played, before, reason)
    if reason:
        get_run_logger().warning(message)
    return Completed(message=message, data=played)


def _message(order: RoundsToPlay, played: list[Round], before: int, reason: str | None) -> str:
    """What was played, and why no further round should be: the message of the flow run's last state."""
    count, promoted = len(played) + before, sum(last.decision.promoted for last in played)
    done = f"{count} of {order.rounds} rounds of {order.run} played, {promoted} promoted"
    if reason is None:
        return done
    early = "ended early" if count < order.rounds else "look"
    return (
        f"{done}; {early} after round {played[-1].number}: {reason}. See its report; a new run plays on, with the same "
        "settings or with others."
    )


def rounds_before_retry(history: RunHistory) -> int:
    """Rounds that earlier processes of this flow run completed: `rounds` counts for the flow run, also when retried."""
    probe = first_task_run(f"/{FOLDERS[0]}")
    first_round = history.next_round if probe is None else int(probe.partition("/")[0].removeprefix("round-"))
    return history.next_round - first_round


def reason_to_end(config: RunConfig, last: Round, history: RunHistory) -> str | None:
    """Why the run ends: too many rounds were rolled back in a row, or labels are wrong too often. None to go on."""
    if history.rolled_back >= config.patience:
        return f"{history.rolled_back} rounds in a row were rolled back (patience={config.patience})"
    return reason_to_stop(last.curriculum.read(), config.filter)
