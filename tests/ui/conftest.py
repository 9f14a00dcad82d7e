"""`active-zero ui` on a free port with its own store, database and cache; requests to its API; a browser."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.server.server import free_port
from tests.fixtures.tiny_round import write_tiny_config

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "build" / "ui"
SLOW = 240.0
"""Seconds that one step may take on a busy machine."""
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@dataclass(frozen=True)
class LiveServer:
    """A server with its worker, and requests to its API."""

    process: subprocess.Popen[str]
    port: int
    config: Path
    environment: dict[str, str]
    printed: tuple[str, ...] = ()
    """The lines that it has printed until it was ready."""

    def again(self) -> LiveServer:
        """Started again with the same database, store and port, after its processes have ended."""
        self.process.wait(SLOW)
        return start_ui(self.port, self.config, self.environment)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pages(self) -> str:
        """The address of the store's pages."""
        (line,) = [line for line in self.printed if line.startswith("Pages of the store: ")]
        return line.removeprefix("Pages of the store: ").strip()

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The API's reply. HTTPError if it refuses the request."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(f"{self.address}/api{path}", data, headers, method=method)
        for pause in (0.5, 1.0, 2.0, 4.0, 0.0):
            try:
                with urllib.request.urlopen(request, timeout=60) as reply:
                    text = reply.read()
                return json.loads(text) if text else None
            except urllib.error.HTTPError as error:  # 503: SQLite is locked for a moment
                if error.code != 503 or not pause:
                    raise
                time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def deployment(self, name: str = "self-play/iterate") -> Any:
        return self.call("GET", f"/deployments/name/{name}")

    def start(self, deployment: str = "self-play/iterate", **parameters: object) -> str:
        """Start a run of a deployment with the tiny config; its id."""
        body = {"parameters": {"config": str(self.config), **parameters}}
        deployment_id = self.deployment(deployment)["id"]
        return str(self.call("POST", f"/deployments/{deployment_id}/create_flow_run", body)["id"])

    def artifacts(self, run: str) -> dict[str, Any]:
        """A run's artifacts by key."""
        body = {"artifacts": {"flow_run_id": {"any_": [run]}}, "limit": 50}
        return {artifact["key"]: artifact for artifact in self.call("POST", "/artifacts/filter", body)}

    def state(self, run: str) -> dict[str, Any]:
        state: dict[str, Any] = self.call("GET", f"/flow_runs/{run}")["state"]
        return state

    def stages(self, run: str) -> list[tuple[str, str]]:
        """Names and states of a run's stages, by start time."""
        task_runs = self.all("/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
        started = [task_run for task_run in task_runs if task_run["start_time"]]
        started.sort(key=lambda task_run: task_run["start_time"])
        return [(task_run["name"], task_run["state_name"]) for task_run in started]

    def wait(self, run: str, *types: str, seconds: float = SLOW) -> dict[str, Any]:
        """Wait until the run's state has one of the types, by default until it has ended; the state."""
        until(lambda: self.state(run)["type"] in (types or ENDED), seconds, lambda: str(self.state(run)))
        return self.state(run)

    def engine(self) -> psutil.Process:
        """The process of the running flow run."""
        return self.engines()[0]

    def engines(self) -> list[psutil.Process]:
        """The processes of all running flow runs."""
        return [process for process in self.descendants() if "prefect.engine" in " ".join(process.cmdline())]

    def runs(self, **filters: object) -> list[dict[str, Any]]:
        """All flow runs, or those that pass Prefect's filters of flow runs; those due first."""
        return self.all("/flow_runs/filter", {"flow_runs": filters, "sort": "EXPECTED_START_TIME_ASC"})

    def all(self, path: str, query: dict[str, object]) -> list[dict[str, Any]]:
        """All records of a filter; one reply holds 200 at most."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.call("POST", path, {**query, "limit": 200, "offset": len(found)})
            found += page
            if len(page) < 200:
                return found

    def set_state(self, run: str, type: str, name: str | None = None, **details: object) -> str:
        """Set a run's state as the page does; the server's answer: ACCEPT, REJECT or ABORT."""
        state = {"type": type, "name": name or type.capitalize(), "state_details": details}
        return str(self.call("POST", f"/flow_runs/{run}/set_state", {"state": state})["status"])

    def suspend(self, run: str) -> str:
        """What the page's Suspend does; the server's answer."""
        return self.set_state(run, "PAUSED", "Suspended", pause_reschedule=True)

    def retry(self, run: str) -> str:
        """What the page's Retry does; the server's answer."""
        return self.set_state(run, "SCHEDULED", "AwaitingRetry")

    def descendants(self) -> list[psutil.Process]:
        """The living processes below this one."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        return [process for process in found if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def until(condition: Callable[[], bool], seconds: float = SLOW, message: Callable[[], str] = str) -> None:
    """Wait until a condition holds; fail with the message after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, message()
        time.sleep(0.3)


def environment_in(folder: Path) -> dict[str, str]:
    """An environment with store, database and cache in a folder, and without a configured server."""
    environment = {
        **os.environ,
        "PREFECT_HOME": str(folder / "prefect"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "ACTIVE_ZERO_STORE": str(folder / "store"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }
    environment.pop("PREFECT_API_URL", None)
    return environment


def start_ui(port: int, config: Path, environment: dict[str, str]) -> LiveServer:
    """`active-zero ui`, ready; AssertionError with its output if it ends."""
    command = [sys.executable, "-m", "flows.cli", "ui", "--port", str(port), "--pages-port", str(free_port())]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command, env=environment, text=True, cwd=ROOT, **pipes)
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or not lines[-1].startswith("Prefect UI: "):
        lines.append(process.stdout.readline())
        assert lines[-1], "".join(lines)
    return LiveServer(process, port, config, environment, tuple(lines))


def stop_ui(live: LiveServer) -> None:
    """Ctrl-C, and wait until it has ended."""
    if live.process.poll() is None:
        live.process.send_signal(signal.SIGINT)
        live.process.wait(SLOW)


def kill_tree(process: psutil.Process) -> None:
    """Kill a process and all below it, as a power cut does."""
    for victim in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            victim.kill()


@pytest.fixture(scope="session")
def live_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("ui")
    live = start_ui(free_port(), write_tiny_config(folder), environment_in(folder))
    yield live
    stop_ui(live)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium; skips where it is not installed."""
    chromium = Path("/usr/bin/chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    if not chromium.exists():
        pytest.skip("no /usr/bin/chromium")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with playwright.sync_playwright() as driver:
        chrome = driver.chromium.launch(executable_path=str(chromium), args=["--no-sandbox"])
        yield chrome
        chrome.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    tab = browser.new_page(viewport={"width": 1400, "height": 1300})
    tab.set_default_timeout(60_000)
    yield tab
    tab.close()


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of an empty database. PostgreSQL refuses to run as root, so root starts it under another account."""
    if not (shutil.which("initdb") and shutil.which("pg_ctl")):
        pytest.skip("no PostgreSQL: initdb and pg_ctl are not on the path")
    port, account = free_port(), "postgres" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory() as folder:
        if account:
            shutil.chown(folder, account)

        def run(*command: str) -> None:
            done = subprocess.run(command, user=account, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            assert done.returncode == 0, done.stderr

        run("initdb", "-D", f"{folder}/data", "-U", "prefect", "-A", "trust")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        control = ("pg_ctl", "-D", f"{folder}/data", "-w", "-t", "120")
        run(*control, "-o", options, "-l", f"{folder}/log", "start")
        try:
            yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres"
        finally:
            run(*control, "-m", "immediate", "stop")
