"""A store that refuses requests, loses replies, is slow or is down: the round completes, or ends with one error."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from tasks.store import Store
from tests.chaos.arena import Player, Undisturbed, commits, contents
from tests.chaos.light import STAGES
from tests.fixtures.faulty_bucket import DEADLINE, Bucket

ONCE = dict.fromkeys(STAGES, 1)


def start(player: Player, bucket: Bucket, run: str = "r", deadline: float = DEADLINE, **death: Any) -> None:
    player.start(
        bucket.url, run, environment={**bucket.environment, "ACTIVE_ZERO_STORE_DEADLINE": str(deadline)}, **death
    )


def play(player: Player, bucket: Bucket, run: str = "r", deadline: float = DEADLINE, **death: Any) -> dict[str, Any]:
    start(player, bucket, run, deadline, **death)
    return player.end()


def test_a_round_in_a_bucket_equals_one_on_a_disk(light: Player, bucket: Bucket, undisturbed: Undisturbed) -> None:
    assert play(light, bucket) == {"status": 0, "error": ""}
    assert play(light, bucket) == {"status": 0, "error": ""}
    assert contents(Store(bucket.url), "r") == undisturbed.contents
    assert commits(Store(bucket.url), "r") == ONCE


def test_a_round_completes_though_a_fifth_of_requests_is_refused(
    light: Player, bucket: Bucket, undisturbed: Undisturbed
) -> None:
    bucket.line.refused = 0.2
    assert play(light, bucket) == {"status": 0, "error": ""}
    bucket.line.refused = 0.0
    assert bucket.line.faults > 5
    assert contents(Store(bucket.url), "r") == undisturbed.contents
    assert commits(Store(bucket.url), "r") == ONCE


def test_no_commit_is_made_twice_after_a_lost_reply(light: Player, bucket: Bucket, undisturbed: Undisturbed) -> None:
    bucket.line.lost = 0.2
    assert play(light, bucket) == {"status": 0, "error": ""}
    bucket.line.lost = 0.0
    assert bucket.line.faults > 5
    assert contents(Store(bucket.url), "r") == undisturbed.contents
    assert commits(Store(bucket.url), "r") == ONCE


def test_a_store_that_refuses_all_ends_in_one_error_in_time(light: Player, bucket: Bucket) -> None:
    bucket.line.refused = 1.0
    started = time.monotonic()
    answer = play(light, bucket, deadline=3)
    assert time.monotonic() - started < 3 + 10
    assert answer["status"] == 1
    endpoint = re.escape(bucket.environment["AWS_ENDPOINT_URL"])
    expected = (
        rf"StoreFault: \w+ {bucket.url}/runs/r/round-001/_journal at {endpoint}: gave up after \d+ tries in \d s: .*"
    )
    assert re.fullmatch(expected, answer["error"]), answer["error"]


def test_a_round_gives_up_on_a_silent_server_within_the_deadline(light: Player, bucket: Bucket) -> None:
    bucket.line.delay = 60.0
    started = time.monotonic()
    answer = play(light, bucket, deadline=3)
    assert time.monotonic() - started < 3 + 10
    assert answer["status"] == 1
    assert "gave up after" in answer["error"]


def test_a_round_waits_for_a_server_that_restarts(light: Player, bucket: Bucket, undisturbed: Undisturbed) -> None:
    start(light, bucket, deadline=120)
    while Store(bucket.url).files.exists(f"{Store(bucket.url).root}/runs/r/round-001/2-train") is False:
        time.sleep(0.02)
    bucket.line.cut = True
    bucket.restart()
    bucket.line.cut = False
    assert light.end() == {"status": 0, "error": ""}
    assert contents(Store(bucket.url), "r") == undisturbed.contents
    assert commits(Store(bucket.url), "r") == ONCE


@pytest.mark.parametrize("stride", [40, pytest.param(1, marks=pytest.mark.slow)])
def test_a_round_killed_after_any_faulty_request_resumes(
    light: Player, bucket: Bucket, undisturbed: Undisturbed, stride: int
) -> None:
    bucket.line.refused = bucket.line.lost = 0.03
    for calls in range(0, 1000, stride):
        first = play(light, bucket, f"r{calls}", calls=calls, during="2-train")
        if first["status"] == 0:
            break
        assert play(light, bucket, f"r{calls}") == {"status": 0, "error": ""}
        assert contents(Store(bucket.url), f"r{calls}") == undisturbed.contents
        assert commits(Store(bucket.url), f"r{calls}") == ONCE


@pytest.mark.parametrize("races", [2, pytest.param(25, marks=pytest.mark.slow)])
def test_of_two_processes_on_a_bucket_one_plays_and_one_reuses(
    light: Player, rival: Player, bucket: Bucket, undisturbed: Undisturbed, races: int
) -> None:
    for number in range(races):
        for player in (light, rival):
            start(player, bucket, f"r{number}")
        assert [player.end()["status"] for player in (light, rival)] == [0, 0]
        assert commits(Store(bucket.url), f"r{number}") == ONCE
        assert contents(Store(bucket.url), f"r{number}") == undisturbed.contents
