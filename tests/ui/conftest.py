"""`active-zero ui` on a free port, with store, database and cache of its own; what it serves, as API and pages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
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
"""Seconds that anything may take on a busy machine."""
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@dataclass(frozen=True)
class House:
    """A server, its worker, and what plays on it."""

    process: subprocess.Popen[str]
    port: int
    config: Path
    environment: dict[str, str]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The API's answer; HTTPError for a refusal."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(f"{self.address}/api{path}", data, headers, method=method)
        for pause in (0.5, 1.0, 2.0, 4.0, 0.0):
            try:
                with urllib.request.urlopen(request, timeout=60) as reply:
                    text = reply.read()
                return json.loads(text) if text else None
            except urllib.error.HTTPError as error:  # SQLite is locked for a moment
                if error.code != 503 or not pause:
                    raise
                time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def deployment(self, name: str = "self-play/iterate") -> Any:
        return self.call("GET", f"/deployments/name/{name}")

    def start(self, deployment: str = "self-play/iterate", **parameters: object) -> str:
        """The id of a new run of a deployment, with the tiny config."""
        body, which = {"parameters": {"config": str(self.config), **parameters}}, self.deployment(deployment)["id"]
        return str(self.call("POST", f"/deployments/{which}/create_flow_run", body)["id"])

    def artifacts(self, run: str) -> dict[str, Any]:
        """What a run shows, by the artifacts' keys."""
        shown = {"artifacts": {"flow_run_id": {"any_": [run]}}, "limit": 50}
        return {one["key"]: one for one in self.call("POST", "/artifacts/filter", shown)}

    def state(self, run: str) -> dict[str, Any]:
        state: dict[str, Any] = self.call("GET", f"/flow_runs/{run}")["state"]
        return state

    def stages(self, run: str) -> list[tuple[str, str]]:
        """Names and states of a run's stages in the order in which they began."""
        found = self.call("POST", "/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}, "limit": 200})
        begun = sorted((one for one in found if one["start_time"]), key=lambda one: one["start_time"])
        return [(one["name"], one["state_name"]) for one in begun]

    def wait(self, run: str, *types: str, seconds: float = SLOW) -> dict[str, Any]:
        """The run's state once it is of one of the types, or has ended."""
        until(lambda: self.state(run)["type"] in (types or ENDED), seconds, lambda: str(self.state(run)))
        return self.state(run)

    def engine(self) -> psutil.Process:
        """The process of the run that plays now."""
        return self.engines()[0]

    def engines(self) -> list[psutil.Process]:
        """The processes of runs that play now."""
        return [one for one in self.below() if "prefect.engine" in " ".join(one.cmdline())]

    def below(self) -> list[psutil.Process]:
        """The processes of the house that run."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        return [one for one in found if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def until(holds: Callable[[], bool], seconds: float = SLOW, told: Callable[[], str] = str) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, told()
        time.sleep(0.3)


def environment_in(folder: Path) -> dict[str, str]:
    """With store, database and cache in a folder, and no server configured."""
    environment = {
        **os.environ,
        "PREFECT_HOME": str(folder / "prefect"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "ACTIVE_ZERO_STORE": str(folder / "store"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }
    environment.pop("PREFECT_API_URL", None)
    return environment


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    environment, port = environment_in(folder), free_port()
    command = [sys.executable, "-m", "flows.cli", "ui", "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        assert f"http://127.0.0.1:{port}" in process.stdout.readline()
        yield House(process, port, write_tiny_config(folder), environment)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(SLOW)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium, where this machine has one."""
    chromium = Path("/usr/bin/chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    if not chromium.exists():
        pytest.skip("no /usr/bin/chromium")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with playwright.sync_playwright() as driver:
        one = driver.chromium.launch(executable_path=str(chromium), args=["--no-sandbox"])
        yield one
        one.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    one = browser.new_page(viewport={"width": 1400, "height": 1300})
    one.set_default_timeout(60_000)
    yield one
    one.close()
