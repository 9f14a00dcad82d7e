"""Rounds, one after another: play, promote or roll back, stop. A run plays on from where its manifests say."""

from __future__ import annotations

from prefect import flow

from flows.round import Round, play_round
from tasks.config import RunConfig
from tasks.standing import standing
from tasks.store import Store


@flow(name="self-play", flow_run_name="{run}")
def play_rounds(config: RunConfig, run: str, rounds: int, store: str) -> list[Round]:
    """Play up to `rounds` more rounds; stop early after `patience` rounds rolled back in a row.

    The first round is always played: who asks for one gets one, also in a run that has stopped.
    """
    played: list[Round] = []
    while len(played) < rounds:
        played.append(play_round(config, run, standing(Store(store), run).next, store))
        if standing(Store(store), run).rolled_back >= config.patience:
            break
    return played
