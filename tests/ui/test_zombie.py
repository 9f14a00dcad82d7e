"""A machine fails with its worker and run: the server's automation marks the run Crashed; another worker resumes it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flows.server.api import POOL
from flows.server.deploy import AUTOMATION
from flows.server.server import end_process, free_port, local_url, start_process, wait_for_server
from flows.server.settle import SILENCE
from tests.fixtures.stages import FOLDER
from tests.fixtures.tiny_round import write_tiny_config
from tests.ui.conftest import LiveServer, environment_in, until

pytestmark = [pytest.mark.ui, pytest.mark.timeout(1200)]

LATE = 2 * SILENCE.seconds
"""Seconds until the run must be Crashed: four heartbeats, and as many again for a busy machine."""


@pytest.fixture
def live_server(tmp_path: Path) -> Iterator[LiveServer]:
    """A server with the deployments registered, and without a worker."""
    port = free_port()
    environment = environment_in(tmp_path)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = start_process(command, environment)
    try:
        wait_for_server(local_url(port), server)
        client = {**environment, "PREFECT_API_URL": local_url(port)}
        subprocess.run([sys.executable, "-m", "flows.cli", "deploy"], env=client, check=True, timeout=300)
        yield LiveServer(server, port, write_tiny_config(tmp_path), client)
    finally:
        end_process(server)


def worker_of(live_server: LiveServer) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
    return start_process(command, {**live_server.environment, "PREFECT_WORKER_QUERY_SECONDS": "2"})


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """Kill as a power cut does. The worker first: it would report the end of a run to the server."""
    for victim in [process, *psutil.Process(process.pid).children(recursive=True)]:
        victim.kill()
    process.wait()


def test_a_run_of_a_failed_machine_crashes_and_a_retry_resumes_it(live_server: LiveServer) -> None:
    worker, run = worker_of(live_server), live_server.start(run="zombie")
    until(lambda: (f"round-001/{FOLDER['search']}", "Completed") in live_server.stages(run))
    kill_all(worker)
    assert live_server.state(run)["type"] == "RUNNING"  # the server has not noticed yet
    crashed = live_server.wait(run, "CRASHED", seconds=LATE)
    assert crashed["message"].startswith(f"no heartbeat for {SILENCE.seconds} seconds"), crashed
    (automation,) = live_server.call("POST", "/automations/filter", {})
    assert automation["name"] == AUTOMATION
    worker = worker_of(live_server)
    try:
        live_server.call(
            "POST", f"/flow_runs/{run}/set_state", {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}}
        )
        until(lambda: live_server.state(run)["type"] in ("PENDING", "RUNNING"))
        assert live_server.wait(run)["type"] == "COMPLETED"
        assert (f"round-001/{FOLDER['search']}", "Reused") in live_server.stages(run)
    finally:
        end_process(worker)
