"""Rounds, one after another: play, promote or roll back, stop. A run plays on from where its manifests say."""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.runtime import flow_run

from flows.force import withdraw
from flows.round import Round, play_round
from tasks.canaries import rotten
from tasks.config import RunConfig
from tasks.standing import Standing, standing
from tasks.store import Place, Store


@flow(name="self-play", flow_run_name="{run}")
def play_rounds(
    config: RunConfig, run: str, rounds: int, store: str, force_from: str | None = None, wait: bool = False
) -> list[Round]:
    """Play up to `rounds` more rounds; stop early, and say why, where the run has a reason to end.

    The first round is always played: who asks for one gets one, also in a run that has stopped. A round has one player
    at a time: `wait` for another one, or leave with `Held`. With `force_from`, a stage and those after it are played
    again.
    """
    home, played = Store(store), list[Round]()
    if force_from is not None:
        withdraw(home, run, force_from, str(flow_run.id))
    while len(played) < rounds:
        number = standing(home, run).next
        with Place.round(home, run, number).hold(wait):
            played.append(play_round(config, run, number, store))
        if reason := reason_to_end(config, played[-1], standing(home, run)):
            get_run_logger().warning("the run ends after round %d: %s", played[-1].number, reason)
            break
    return played


def reason_to_end(config: RunConfig, last: Round, now: Standing) -> str | None:
    """Too many rounds rolled back in a row, or labels that the canaries show to be rotten."""
    if now.rolled_back >= config.patience:
        return f"{now.rolled_back} rounds in a row were rolled back (patience)"
    return rotten(last.curriculum.read(), config.filter)
