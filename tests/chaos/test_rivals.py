"""Two processes on one round: one plays, the other waits or fails. A process that was paused too long cannot commit."""

from __future__ import annotations

import pytest

from tasks.store import Place, Store
from tests.chaos.arena import Player, commits, contents
from tests.chaos.light import STAGES

ONCE = dict.fromkeys(STAGES, 1)
QUICK = {"ACTIVE_ZERO_LEASE_SECONDS": "0.5"}


@pytest.fixture
def rivals(light: Player, rival: Player) -> tuple[Player, Player]:
    return light, rival


@pytest.mark.parametrize("races", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_of_two_processes_on_a_round_one_plays_and_one_reuses(
    rivals: tuple[Player, Player], store: Store, races: int
) -> None:
    for number in range(races):
        for player in rivals:
            player.start(store.url, f"r{number}", environment=QUICK)
        assert [player.end() for player in rivals] == 2 * [{"status": 0, "error": ""}]
        assert commits(store, f"r{number}") == ONCE
        assert contents(store, f"r{number}") == contents(store, "r0")


def test_a_process_that_does_not_wait_names_the_owner_in_one_line(rivals: tuple[Player, Player], store: Store) -> None:
    with Place.round(store, "r", 1).hold(wait=False):
        answer = rivals[0].play(store.url, wait=False)
    assert answer["status"] == 1
    assert answer["error"].startswith("Held: runs/r/round-001 is being played by process ")
    assert len(answer["error"].splitlines()) == 1


@pytest.mark.parametrize(
    "calls", [0, 28, *(pytest.param(calls, marks=pytest.mark.slow) for calls in range(60) if calls % 28)]
)
def test_an_owner_that_was_paused_at_any_moment_cannot_commit(
    rivals: tuple[Player, Player], store: Store, calls: int
) -> None:
    """It is fenced; if it was paused between two stages, it reuses what the other process has completed since."""
    paused, other = rivals
    paused.start(store.url, calls=calls, during="2-train", how="SIGSTOP", environment=QUICK)
    if "stopped" not in paused.end():
        pytest.skip(f"the round ended after fewer than {calls} requests")
    assert other.play(store.url, environment=QUICK)["status"] == 0
    made, entries = contents(store, "r"), Place.round(store, "r", 1).journal.entries()
    woken = paused.wake()
    assert woken["status"] == 0 or "Fenced: the lease on runs/r/round-001 went to " in woken["error"]
    assert commits(store, "r") == ONCE
    assert contents(store, "r") == made
    assert Place.round(store, "r", 1).journal.entries() == entries
