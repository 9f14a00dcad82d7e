"""A bad night in its short form: five minutes on SQLite, three on PostgreSQL.

`ACTIVE_ZERO_NIGHT_MINUTES=60 make test-ui ARGS="-k bad_night and sqlite"` plays the long one, and
`ACTIVE_ZERO_NIGHT_SEED` another one, or a failure again. The diary is in `build/ui/night-<seed>.txt`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flows.server.server import free_port
from tasks.store import Store
from tests.fixtures.small_s3 import FaultyProxy, small_s3
from tests.fixtures.tiny_round import write_tiny_config
from tests.ui.conftest import SCREENSHOTS, environment_in, start_ui
from tests.ui.night import a_night, check_the_end, play, report

SEED = int(os.environ.get("ACTIVE_ZERO_NIGHT_SEED") or 11)
MINUTES = float(os.environ.get("ACTIVE_ZERO_NIGHT_MINUTES") or 5)

pytestmark = [pytest.mark.ui, pytest.mark.timeout(60 * MINUTES + 2400)]


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """An S3 server with a bucket, behind a proxy that can refuse requests."""
    with small_s3() as upstream:
        proxy = FaultyProxy(upstream)
        with proxy.open() as address:
            keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
            for name, value in {**keys, "AWS_ENDPOINT_URL": address}.items():
                monkeypatch.setenv(name, value)
            Store("s3://night").fs.mkdir("night")
            yield proxy


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_bad_night_leaves_nothing_wedged(
    database: str, line: FaultyProxy, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    environment = {**environment_in(tmp_path), "ACTIVE_ZERO_STORE": "s3://night/store"}
    if database == "postgresql":
        environment["PREFECT_API_DATABASE_CONNECTION_URL"] = request.getfixturevalue("postgres")
    ui = start_ui(free_port(), write_tiny_config(tmp_path), environment)
    with a_night(ui, line, SEED) as night:
        play(night, MINUTES if database == "sqlite" else min(MINUTES, 3))
        check_the_end(night)
        print(report(night, SEED, SCREENSHOTS / f"night-{database}-{SEED}.txt"))
    left = [process for process in psutil.process_iter() if _home(process) == environment["PREFECT_HOME"]]
    assert not left, [process.cmdline() for process in left]
    assert not night.faults, night.faults


def _home(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("PREFECT_HOME") if process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None
