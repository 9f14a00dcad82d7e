"""A machine is gone, worker and run with it: the server's automation says so, and another worker plays the run on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flows.server.deploy import HEARTBEAT, POOL, ZOMBIES
from flows.server.server import end, free_port, local_url, started, wait_for
from tests.fixtures.tiny_round import write_tiny_config
from tests.ui.conftest import House, environment_in, until

pytestmark = [pytest.mark.ui, pytest.mark.timeout(1200)]

LATE = 8 * HEARTBEAT
"""Seconds after which the server must have noticed: four heartbeats, and as long again for a busy machine."""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A server with everything registered, and no worker."""
    port = free_port()
    environment = environment_in(tmp_path)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = started(command, environment)
    try:
        wait_for(local_url(port), server)
        client = {**environment, "PREFECT_API_URL": local_url(port)}
        subprocess.run([sys.executable, "-m", "flows.cli", "deploy"], env=client, check=True, timeout=300)
        yield House(server, port, write_tiny_config(tmp_path), client)
    finally:
        end(server)


def worker_of(house: House) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
    return started(command, {**house.environment, "PREFECT_WORKER_QUERY_SECONDS": "2"})


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """As a power cut does. The worker first: it would tell the server of a run that ended."""
    for one in [process, *psutil.Process(process.pid).children(recursive=True)]:
        one.kill()
    process.wait()


def test_a_run_whose_machine_went_is_crashed_and_a_retry_plays_it_on(house: House) -> None:
    worker, run = worker_of(house), house.start(run="zombie")
    until(lambda: ("round-001/3-search", "Completed") in house.stages(run))
    kill_all(worker)
    assert house.state(run)["type"] == "RUNNING"  # nobody has told the server
    crashed = house.wait(run, "CRASHED", seconds=LATE)
    assert crashed["message"] == f"no heartbeat for {4 * HEARTBEAT} seconds", crashed
    (automation,) = house.call("POST", "/automations/filter", {})
    assert automation["name"] == ZOMBIES
    worker = worker_of(house)
    try:
        house.call("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}})
        until(lambda: house.state(run)["type"] in ("PENDING", "RUNNING"))
        assert house.wait(run)["type"] == "COMPLETED"
        assert ("round-001/3-search", "Reused") in house.stages(run)
    finally:
        end(worker)
