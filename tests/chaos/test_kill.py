"""`kill -9` at any moment: the same command resumes, with one commit a stage and the files of an undisturbed round."""

from __future__ import annotations

import signal
from random import Random

import pytest

from tasks.store import Store
from tests.chaos.arena import Player, Undisturbed, commits, contents
from tests.chaos.light import STAGES

KILLED = -signal.SIGKILL


def play_through(player: Player, store: Store, run: str, draw: Random, longest: float, kills: int) -> int:
    """Kill a round at random moments until it completes. Returns the number of kills, at most `kills`."""
    for killed in range(kills):
        answer = player.play(store.url, run, seconds=draw.uniform(0, longest))
        assert answer["status"] in (0, KILLED), answer
        if answer["status"] == 0:
            return killed
    answer = player.play(store.url, run)
    assert answer["status"] == 0, answer
    return kills


@pytest.mark.parametrize("kills", [25, pytest.param(400, marks=pytest.mark.slow)])
def test_a_round_killed_at_random_moments_ends_undisturbed(
    light: Player, undisturbed: Undisturbed, store: Store, kills: int
) -> None:
    draw, killed, number = Random(kills), 0, 0
    while killed < kills:
        run = f"r{number}"
        killed += play_through(light, store, run, draw, undisturbed.seconds, kills - killed)
        assert contents(store, run) == undisturbed.contents
        assert commits(store, run) == dict.fromkeys(STAGES, 1)
        number += 1


@pytest.mark.parametrize("stride", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_a_round_killed_after_any_request_of_a_stage_resumes(
    light: Player, undisturbed: Undisturbed, store: Store, stride: int
) -> None:
    calls = 0
    while True:
        run = f"r{calls}"
        first = light.play(store.url, run, calls=calls, during="2-train")
        assert first["status"] in (0, KILLED), first
        if first["status"] == 0:
            break
        assert light.play(store.url, run)["status"] == 0
        assert contents(store, run) == undisturbed.contents
        assert commits(store, run) == dict.fromkeys(STAGES, 1)
        calls += stride
    assert calls > 30
