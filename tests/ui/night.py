"""A bad night at random: what people and machines do to the Prefect UI.

A schedule starts a round each minute. Two workers play the rounds: that of `active-zero ui`, and the command of
`infra/compose.yaml`. Every few seconds a deed is drawn from `DEEDS`. What a deed takes away for a while (the pool, the
schedule, the store, a suspended run) comes back later, among other deeds. `night_claims.py` says what must hold.

Deeds, their pauses and their choices depend on the seed only, so that a failure can be played again; which run is
playing at that moment depends on the machine.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import psutil
import yaml

from flows.server.api import POOL
from flows.server.server import end_process, start_process
from tests.fixtures.small_s3 import FaultyProxy
from tests.ui.conftest import ROOT, LiveServer, kill_tree, start_ui, stop_ui

RUN = "night"
PARAMETERS: dict[str, Any] = {"run": RUN, "overrides": ["patience=1000"]}
"""No run ends early, so that each completed run has played all its rounds."""
UI_SECONDS = 60.0
"""For `ui` to end by itself once its server or worker is gone."""
STARTS = 3
"""Attempts to start `ui` again: its killed server may hold the port for some seconds."""


@dataclass
class Night:
    """The running system, and what was done to it and seen."""

    ui: LiveServer
    line: FaultyProxy
    seed: int
    path: Path
    """The diary's file."""
    worker: subprocess.Popen[bytes]
    """The second worker."""
    schedule: str = ""
    """Path of the schedule in the API."""
    random: Random = field(default_factory=Random)
    """Of the present deed."""
    began: float = field(default_factory=time.monotonic)
    diary: list[str] = field(default_factory=list)
    deeds: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    looks: int = 0
    """How often the claims were looked at."""
    down: bool = False
    """Whether a deed has ended `ui`, and it is not up again yet."""
    later: list[tuple[float, Callable[[], str]]] = field(default_factory=list)
    """What comes back, and when."""

    def note(self, text: str) -> None:
        """One line of the diary."""
        self.diary.append(f"{time.monotonic() - self.began:7.1f}  {text}")
        with self.path.open("a") as file:
            file.write(f"{self.diary[-1]}\n")

    def fault(self, text: str) -> None:
        """Something that must not be, once."""
        if text not in self.faults:
            self.faults.append(text)
            self.note(f"FAULT  {text}")

    def bring_back(self, lowest: float, highest: float, what: Callable[[], str]) -> str:
        """Do something after a time drawn at random; what the diary says of it now."""
        seconds = self.random.uniform(lowest, highest)
        self.later.append((time.monotonic() + seconds, what))
        return f"for {seconds:.0f} s"

    def engines(self) -> list[psutil.Process]:
        """The processes of flow runs, of both workers."""
        home = self.ui.environment["PREFECT_HOME"]
        return [process for process in psutil.process_iter() if _is_engine(process, home)]

    def draw(self, *types: str) -> str | None:
        """A run in a state of these types, drawn at random; None if there is none."""
        ids = [run["id"] for run in self.ui.runs(state={"type": {"any_": types}})]
        return self.random.choice(ids) if ids else None


def _is_engine(process: psutil.Process, home: str) -> bool:
    try:
        return (
            "prefect.engine" in process.cmdline()
            and process.status() != psutil.STATUS_ZOMBIE
            and process.environ().get("PREFECT_HOME") == home
        )
    except psutil.Error:
        return False


@contextmanager
def a_night(ui: LiveServer, line: FaultyProxy, seed: int, path: Path) -> Iterator[Night]:
    """A second worker and a schedule beside a running `ui`. The block's end is a Ctrl-C for both."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    night = Night(ui, line, seed, path, start_worker(ui))
    body = {"schedule": {"interval": 60, "anchor_date": "2026-01-01T00:00:00Z"}, "active": True, "slug": "minutely"}
    parameters = {**PARAMETERS, "config": str(ui.config)}
    schedules = f"/deployments/{ui.deployment()['id']}/schedules"
    try:
        (made,) = ui.call("POST", schedules, [{**body, "parameters": parameters}])
        night.schedule = f"{schedules}/{made['id']}"
        yield night
    finally:
        end_process(night.worker, UI_SECONDS)
        stop_ui(night.ui)


def start_worker(ui: LiveServer) -> subprocess.Popen[bytes]:
    """The worker's command in `infra/compose.yaml`: `active-zero settle`, then Prefect's worker."""
    compose = yaml.safe_load((ROOT / "infra" / "compose.yaml").read_text())
    command = shlex.split(compose["services"]["worker"]["command"])
    path = os.pathsep.join([str(Path(sys.executable).parent), ui.environment["PATH"]])
    return start_process(command, {**ui.environment, "PREFECT_API_URL": f"{ui.address}/api", "PATH": path})


def play(night: Night, minutes: float) -> None:
    """Deeds at random for so many minutes; then all comes back."""
    deadline = time.monotonic() + 60 * minutes
    for number in count():
        night.random = Random(f"{night.seed}.{number}")
        _wait(night, night.random.uniform(1, 12))
        if time.monotonic() > deadline:
            break
        deed = night.random.choice(DEEDS)
        name = deed.__name__.replace("_", " ")
        night.deeds.append(name)
        night.note(f"{name}: {_done(lambda deed=deed: deed(night))}")  # type: ignore[misc]
        keep_up(night)
    while night.later:
        _bring_back_next(night)


def _done(deed: Callable[[], str]) -> str:
    """What a deed says; a deed that the server refuses is no fault: its run may have ended meanwhile."""
    try:
        return deed()
    except OSError as error:
        return f"not possible: {error}"


def _wait(night: Night, seconds: float) -> None:
    """Pause, and let come back what is due."""
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        if any(due <= now for due, _ in night.later):
            _bring_back_next(night)
        time.sleep(0.2)


def _bring_back_next(night: Night) -> None:
    night.later.sort(key=lambda item: item[0])
    _, what = night.later.pop(0)
    keep_up(night)
    night.note(f"  {_done(what)}")


def keep_up(night: Night) -> None:
    """Start again what has ended, as a person would. `ui` must not have ended without a deed."""
    if night.ui.process.poll() is not None:
        if not night.down:
            night.fault(f"ui has ended by itself, exit {night.ui.process.returncode}")
        night.ui = _started_again(night)
        for line in night.ui.printed[:-1]:
            night.note(f"  ui: {line.strip()}")
        night.down = False
    if night.worker.poll() is not None:
        night.worker = start_worker(night.ui)


def _started_again(night: Night) -> LiveServer:
    for left in reversed(range(STARTS)):
        try:
            return start_ui(night.ui.port, night.ui.config, night.ui.environment)
        except AssertionError as error:
            night.note(f"  ui does not start: {error}")
            if "already" not in str(error) and "is taken" not in str(error):
                night.fault(f"ui does not start: {error}")
            if not left:
                raise
            time.sleep(5)
    raise AssertionError("the last attempt returns or raises")


def kill_an_engine(night: Night) -> str:
    engines = night.engines()
    for engine in engines[:1]:
        engine.kill()
    return f"{len(engines)} there"


def kill_the_worker(night: Night) -> str:
    return _kill_below(night, "worker")


def kill_the_server(night: Night) -> str:
    return _kill_below(night, "server")


def _kill_below(night: Night, word: str) -> str:
    """Kill a child of `ui`, which must then end by itself."""
    night.down = True
    for child in psutil.Process(night.ui.process.pid).children():
        if word in child.cmdline():
            child.kill()
    begin = time.monotonic()
    try:
        night.ui.process.wait(UI_SECONDS)
    except subprocess.TimeoutExpired:
        night.fault(f"ui goes on without its {word}")
        kill_tree(psutil.Process(night.ui.process.pid))
    seconds, last = time.monotonic() - begin, _last_lines(night.ui)
    if len(last) != 1:
        night.fault(f"ui has ended with {len(last)} lines instead of one: {last}")
    return f"ui has ended after {seconds:.0f} s, exit {night.ui.process.wait()}: {' '.join(last)}"


def _last_lines(ui: LiveServer) -> list[str]:
    """What an ended `ui` has printed since it was ready."""
    assert ui.process.stdout is not None
    return ui.process.stdout.read().splitlines()


def kill_the_second_worker(night: Night) -> str:
    night.worker.kill()
    night.worker.wait()
    return "done"


def kill_ui(night: Night) -> str:
    night.down = True
    night.ui.process.kill()
    return f"exit {night.ui.process.wait()}"


def kill_all(night: Night) -> str:
    """As a power cut does."""
    night.down = True
    for root in (night.ui.process, night.worker):
        kill_tree(psutil.Process(root.pid))
        root.wait()
    return "done"


def ctrl_c(night: Night) -> str:
    night.down = True
    begin = time.monotonic()
    stop_ui(night.ui)
    return f"ui has ended after {time.monotonic() - begin:.0f} s, exit {night.ui.process.returncode}"


def pause_the_pool(night: Night) -> str:
    def pause(paused: bool) -> str:
        night.ui.call("PATCH", f"/work_pools/{POOL}", {"is_paused": paused})
        return "the pool is resumed"

    pause(True)
    return night.bring_back(5, 40, lambda: pause(False))


def schedule_off(night: Night) -> str:
    switch(night, False)
    return night.bring_back(5, 40, lambda: switch(night, True))


def switch(night: Night, active: bool) -> str:
    """Switch the schedule on or off."""
    night.ui.call("PATCH", night.schedule, {"active": active})
    return f"the schedule is {'on' if active else 'off'}"


def suspend(night: Night) -> str:
    if (run := night.draw("RUNNING")) is None:
        return "nothing runs"
    return f"{run} {night.ui.suspend(run)}, {night.bring_back(5, 90, lambda: resume(night, run))}"


def suspend_and_resume_at_once(night: Night) -> str:
    if (run := night.draw("RUNNING")) is None:
        return "nothing runs"
    return f"{run} {night.ui.suspend(run)}, {resume(night, run)}"


def resume(night: Night, run: str) -> str:
    """What the page's Resume does."""
    return f"resume {run} {night.ui.call('POST', f'/flow_runs/{run}/resume', {})['status']}"


def cancel(night: Night) -> str:
    run = night.draw("RUNNING", "PENDING")
    return f"{run} {night.ui.set_state(run, 'CANCELLING')}" if run else "nothing runs"


def delete(night: Night) -> str:
    if (run := night.draw("RUNNING", "PENDING")) is None:
        return "nothing runs"
    night.ui.call("DELETE", f"/flow_runs/{run}")
    return run


def retry_twice(night: Night) -> str:
    run = night.draw("CRASHED", "FAILED")
    return f"{run} {night.ui.retry(run)}, {night.ui.retry(run)}" if run else "nothing to retry"


def start_two_rounds(night: Night) -> str:
    return night.ui.start(**PARAMETERS, rounds=2)


def let_the_store_refuse(night: Night) -> str:
    """One request in five, for a while."""

    def refuse(share: float) -> str:
        night.line.refused = share
        return f"the store accepts all requests, {night.line.faults} refused so far"

    refuse(0.2)
    return night.bring_back(10, 40, lambda: refuse(0))


Deed = Callable[[Night], Any]
DEEDS: tuple[Deed, ...] = (
    kill_an_engine, kill_the_worker, kill_the_server, kill_the_second_worker, kill_ui, kill_all, ctrl_c,
    pause_the_pool, schedule_off, suspend, suspend_and_resume_at_once, cancel, delete, retry_twice, retry_twice,
    start_two_rounds, let_the_store_refuse,
)  # fmt: skip
