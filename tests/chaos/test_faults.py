"""A store that refuses requests, loses replies, is slow or is down: the round completes, or ends with one error.

The tests run on a small S3 server, and on a real one if `ACTIVE_ZERO_TEST_S3` names a program that starts it: the
program takes `start FOLDER`, `stop FOLDER` and `wipe FOLDER`, listens at the port `S3_PORT`, and prints `export
AWS_ENDPOINT_URL=...` on start.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tasks.store import Store
from tests.chaos.arena import Player, Undisturbed, commits, contents
from tests.chaos.light import STAGES
from tests.fixtures.small_s3 import FaultyProxy, small_s3

ONCE = dict.fromkeys(STAGES, 1)
DEADLINE = 20


@dataclass
class Bucket:
    """A bucket behind a proxy that makes faults (`line`), and a function that restarts its server."""

    line: FaultyProxy
    url: str
    environment: dict[str, str]
    restart: Callable[[], None]


@pytest.fixture(params=["small", "real"], scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    program = os.environ.get("ACTIVE_ZERO_TEST_S3")
    if request.param == "real" and not program:
        pytest.skip("ACTIVE_ZERO_TEST_S3 names no S3 server")
    with ExitStack() as stack:
        if request.param == "real":
            assert program
            folder = tmp_path_factory.mktemp("s3") / "data"
            upstream, restart = _start(program, folder)
            stack.callback(subprocess.run, [program, "wipe", str(folder)])
        else:
            upstream, restart = {"AWS_ENDPOINT_URL": stack.enter_context(small_s3())}, lambda: time.sleep(2)
        line = FaultyProxy(upstream["AWS_ENDPOINT_URL"])
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
        environment = {**keys, **upstream, "AWS_ENDPOINT_URL": stack.enter_context(line.open())}
        monkey = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in {**environment, "ACTIVE_ZERO_STORE_DEADLINE": str(DEADLINE)}.items():
            monkey.setenv(name, value)
        yield Bucket(line, "", environment, restart)


@pytest.fixture
def bucket(server: Bucket) -> Iterator[Bucket]:
    """A new bucket; the proxy makes no faults yet."""
    name = f"test-{uuid4().hex[:12]}"
    server.line.refused = server.line.lost = server.line.delay = 0.0
    server.line.cut = False
    Store(f"s3://{name}").fs.mkdir(name)
    server.url, server.line.faults = f"s3://{name}/store", 0
    yield server
    server.line.refused = server.line.lost = server.line.delay = 0.0


def start(player: Player, bucket: Bucket, run: str = "r", deadline: float = DEADLINE, **death: Any) -> None:
    player.start(
        bucket.url, run, environment={**bucket.environment, "ACTIVE_ZERO_STORE_DEADLINE": str(deadline)}, **death
    )


def play(player: Player, bucket: Bucket, run: str = "r", deadline: float = DEADLINE, **death: Any) -> dict[str, Any]:
    start(player, bucket, run, deadline, **death)
    return player.end()


def _start(program: str, folder: Path) -> tuple[dict[str, str], Callable[[], None]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = 20_000 + free.getsockname()[1] % 10_000
    environment = {**os.environ, "S3_PORT": str(port)}

    def do(verb: str) -> str:
        done = subprocess.run([program, verb, str(folder)], env=environment, check=True, capture_output=True, text=True)
        return done.stdout

    def restart() -> None:
        do("stop")
        do("start")

    return dict(re.findall(r"(AWS_\w+)=(\S+)", do("start"))), restart


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
