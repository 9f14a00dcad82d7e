"""A bad night in its short form: five minutes on SQLite, three on PostgreSQL.

`ACTIVE_ZERO_NIGHT_MINUTES=60 make test-ui ARGS="-k bad_night"` plays the long one on both databases, and
`ACTIVE_ZERO_NIGHT_SEED` another one, or a failure again. The diary is in `build/ui/night-<database>-<seed>.txt`.
`ACTIVE_ZERO_TEST_S3` names a real S3 server to play on.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from s3fs import S3FileSystem

from flows.server.server import free_port
from tasks.store import Store
from tests.fixtures.small_s3 import FaultyProxy, small_s3
from tests.fixtures.tiny_round import write_tiny_config
from tests.ui.conftest import SCREENSHOTS, environment_in, start_ui
from tests.ui.night import a_night, play
from tests.ui.night_claims import check_the_end, report, watched

SEED = int(os.environ.get("ACTIVE_ZERO_NIGHT_SEED") or 11)
MINUTES = float(os.environ.get("ACTIVE_ZERO_NIGHT_MINUTES") or 0)
SHORT = {"sqlite": 5.0, "postgresql": 3.0}

pytestmark = [pytest.mark.ui, pytest.mark.timeout(60 * MINUTES + 3600)]


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FaultyProxy]:
    """An S3 server with a bucket, behind a proxy that can refuse requests."""
    program, keys = os.environ.get("ACTIVE_ZERO_TEST_S3"), {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "key"}
    with ExitStack() as stack:
        if program:
            folder = str(tmp_path / "s3")
            started = subprocess.run([program, "start", folder], capture_output=True, text=True, check=True)
            stack.callback(subprocess.run, [program, "wipe", folder])
            keys = dict(re.findall(r"(AWS_\w+)=(\S+)", started.stdout))
        proxy = FaultyProxy(keys.get("AWS_ENDPOINT_URL") or stack.enter_context(small_s3()))
        address = stack.enter_context(proxy.open())
        for name, value in {"AWS_DEFAULT_REGION": "us-east-1", **keys, "AWS_ENDPOINT_URL": address}.items():
            monkeypatch.setenv(name, value)
        S3FileSystem.clear_instance_cache()  # the night before keeps the address of its server
        Store("s3://night").fs.mkdir("night")
        yield proxy


@pytest.mark.parametrize("database", SHORT)
def test_a_bad_night_leaves_nothing_wedged(
    database: str, line: FaultyProxy, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    environment = {**environment_in(tmp_path), "ACTIVE_ZERO_STORE": "s3://night/store"}
    if database == "postgresql":
        environment["PREFECT_API_DATABASE_CONNECTION_URL"] = request.getfixturevalue("postgres")
    ui = start_ui(free_port(), write_tiny_config(tmp_path), environment)
    with a_night(ui, line, SEED, SCREENSHOTS / f"night-{database}-{SEED}.txt") as night:
        try:
            with watched(night):
                play(night, MINUTES or SHORT[database])
                check_the_end(night)
        finally:
            print(report(night))
    left = [process for process in psutil.process_iter() if _home(process) == environment["PREFECT_HOME"]]
    assert not left, [process.cmdline() for process in left]
    assert not night.faults, night.faults


def _home(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("PREFECT_HOME") if process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None
