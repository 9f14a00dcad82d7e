"""Rounds, one after another: play, promote or roll back, stop. A run plays on from where its manifests say."""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.runtime import flow_run

from flows.force import withdraw
from flows.history import RunHistory, read_history, start_of
from flows.round import Round, play_round, round_place
from flows.server.artifacts import publish_round
from flows.server.parameters import Override, Rounds, RunName, StageName, Text
from tasks.config import DEFAULT, RunConfig, load_config
from tasks.execution.flow_run import own_process_group
from tasks.labelling.gold import reason_to_stop
from tasks.store import Store


@flow(name="self-play", flow_run_name="{run}", persist_result=False)
def play_rounds(
    run: RunName = "default",
    rounds: Rounds = 1,
    config: Text = DEFAULT,
    overrides: tuple[Override, ...] = (),
    force_from_stage: StageName | None = None,
    wait: bool = False,
    approve: bool = False,
) -> list[Round]:
    """Play up to `rounds` more rounds; stop early, and say why, where the run has a reason to end.

    The first round is always played: who asks for one gets one, also in a run that has stopped. The store is where
    `ACTIVE_ZERO_STORE` of the process says.

    Args:
        run: Which run to play on, or to begin.
        rounds: How many rounds at most.
        config: A file, or a name in configs/.
        overrides: Settings such as filter.low=0.5.
        force_from_stage: Play this stage and those after it again.
        wait: Where another process plays the round, wait for it instead of leaving.
        approve: Suspend before each promotion, until somebody resumes the run (deployments only).
    """
    own_process_group()
    settings, home, played = load_config(config, overrides), Store.from_environment(), list[Round]()
    if force_from_stage is not None:
        withdraw(home, run, force_from_stage, str(flow_run.id), wait)
    while len(played) < rounds:
        number = read_history(home, run).next_round
        with round_place(home, run, number).hold(wait):
            if read_history(home, run).next_round != number:
                continue  # who held the lease has played it to its end meanwhile
            start = start_of(settings, home, run, number)
            # No flow of its own: nested in this one, it would stay Running after a kill, and could not be suspended.
            played.append(play_round(settings, home, run, number, start, approve))
            publish_round(played[-1], home)
        if reason := reason_to_end(settings, played[-1], read_history(home, run)):
            get_run_logger().warning("the run ends after round %d: %s", played[-1].number, reason)
            break
    return played


def reason_to_end(config: RunConfig, last: Round, now: RunHistory) -> str | None:
    """Too many rounds rolled back in a row, or labels that the gold items show to be rotten."""
    if now.rolled_back >= config.patience:
        return f"{now.rolled_back} rounds in a row were rolled back (patience)"
    return reason_to_stop(last.curriculum.read(), config.filter)
