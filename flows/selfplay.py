"""Rounds one after another: play, promote or roll back, stop. A run resumes from what is complete in the store."""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.runtime import flow_run

from flows.force import withdraw
from flows.history import RunHistory, read_history, start_of
from flows.round import FOLDERS, Round, play_round, round_place
from flows.server.artifacts import publish_round
from flows.server.parameters import Override, Rounds, RunName, StageName, Text
from tasks.config import DEFAULT, RunConfig, load_config
from tasks.execution.flow_run import first_task_run, own_process_group
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
    """Play up to `rounds` more rounds; end early, with the reason in the log, after too many bad rounds.

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
    own_process_group()
    settings, store, played = load_config(config, overrides), Store.from_environment(), list[Round]()
    if force_from_stage is not None:
        withdraw(store, run, force_from_stage, str(flow_run.id), wait)
    missing = rounds - rounds_before_retry(read_history(store, run))
    while len(played) < missing:
        number = read_history(store, run).next_round
        with round_place(store, run, number).hold(wait):
            if read_history(store, run).next_round != number:
                continue  # another process held the lease and has completed the round
            start = start_of(settings, store, run, number)
            # Not a flow: a nested flow run would stay Running after a kill, and could not be suspended.
            played.append(play_round(settings, store, run, number, start, approve))
            publish_round(played[-1], store)
        if reason := reason_to_end(settings, played[-1], read_history(store, run)):
            get_run_logger().warning("the run ends after round %d: %s", played[-1].number, reason)
            break
    return played


def rounds_before_retry(history: RunHistory) -> int:
    """Rounds that earlier processes of this flow run completed: `rounds` counts for the flow run, also when retried."""
    probe = first_task_run(f"/{FOLDERS[0]}")
    first_round = history.next_round if probe is None else int(probe.partition("/")[0].removeprefix("round-"))
    return history.next_round - first_round


def reason_to_end(config: RunConfig, last: Round, history: RunHistory) -> str | None:
    """Why the run ends: too many rounds were rolled back in a row, or labels are wrong too often. None to go on."""
    if history.rolled_back >= config.patience:
        return f"{history.rolled_back} rounds in a row were rolled back (patience)"
    return reason_to_stop(last.curriculum.read(), config.filter)
