"""A bad night at random: what people and machines do to the Prefect UI, and what must hold through all of it.

A schedule starts a round each minute. Two workers play them: that of `active-zero ui`, and one of Prefect's command.
Every few seconds something happens, drawn from `DEEDS` by a seed, so that a failure can be played again. A thread looks
at the API and at the process table twice a second. What it finds wrong is a fault, with its time.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import psutil

from flows.round import FOLDERS
from flows.server.api import POOL
from flows.server.server import end_process, start_process
from tasks.store import Place, Store
from tests.fixtures.small_s3 import FaultyProxy
from tests.ui.conftest import ENDED, LiveServer, kill_tree, stop_ui, until

RUN = "night"
OVERLAP = 15.0
"""Seconds that a process may need to end after its run was taken from it, while the next one starts."""
ALONE = 60.0
"""Seconds after which a run without a process must have been settled, while `ui` is up."""
NEXT = 90.0
"""Seconds until the next scheduled run must start."""
LAST = 600.0
"""Seconds until the last runs must have ended."""
PARAMETERS = {"run": RUN, "overrides": ["patience=1000"]}
"""No run ends early, so that each completed run has played all its rounds."""


@dataclass
class Night:
    """The running system, and what has been seen."""

    ui: LiveServer
    line: FaultyProxy
    random: Random
    worker: subprocess.Popen[bytes]
    schedule: str = ""
    began: float = field(default_factory=time.monotonic)
    diary: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """One line of the diary."""
        self.diary.append(f"{time.monotonic() - self.began:7.1f}  {text}")

    def fault(self, text: str) -> None:
        """Something that must not be, once."""
        if text not in self.faults:
            self.faults.append(text)
            self.note(f"FAULT  {text}")

    def engines(self) -> list[psutil.Process]:
        """The processes of flow runs, of both workers."""
        home = self.ui.environment["PREFECT_HOME"]
        return [process for process in psutil.process_iter() if _is_engine(process, home)]

    def running(self) -> str | None:
        """A run that plays, drawn at random."""
        ids = [run["id"] for run in self.ui.runs() if run["state"]["type"] == "RUNNING"]
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
def a_night(ui: LiveServer, line: FaultyProxy, seed: int) -> Iterator[Night]:
    """A second worker and a schedule beside a running `ui`; everything ends with the block."""
    night = Night(ui, line, Random(seed), start_worker(ui))
    body = {"schedule": {"interval": 60, "anchor_date": "2026-01-01T00:00:00Z"}, "active": True, "slug": "minutely"}
    parameters = {**PARAMETERS, "config": str(ui.config)}
    path = f"/deployments/{ui.deployment()['id']}/schedules"
    (made,) = ui.call("POST", path, [{**body, "parameters": parameters}])
    night.schedule = f"{path}/{made['id']}"
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(night, ended), daemon=True)
    watcher.start()
    try:
        yield night
    finally:
        ended.set()
        watcher.join(30)
        end_process(night.worker)
        stop_ui(night.ui)


def start_worker(ui: LiveServer) -> subprocess.Popen[bytes]:
    """The worker of `infra/compose.yaml`."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
    return start_process(command, {**ui.environment, "PREFECT_API_URL": f"{ui.address}/api"})


def play(night: Night, minutes: float) -> None:
    """Deeds at random for so many minutes."""
    deadline = time.monotonic() + 60 * minutes
    while time.monotonic() < deadline:
        time.sleep(night.random.uniform(2, 20))
        deed = night.random.choice(DEEDS)
        try:
            done = deed(night)
        except OSError as error:
            done = f"not possible: {error}"
        night.note(f"{deed.__name__.replace('_', ' ')}: {done}")
        _up_again(night)


def _up_again(night: Night) -> None:
    """Start what has ended, as a person would."""
    if _gone(night.ui.process):
        night.ui = night.ui.again()
        for line in night.ui.printed[:-1]:
            night.note(f"  {line.strip()}")
    if night.worker.poll() is not None:
        night.worker = start_worker(night.ui)


def _gone(process: subprocess.Popen[str], seconds: float = 3.0) -> bool:
    """Whether `ui` has ended or does so now, because its server or worker was killed."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return process.poll() is not None


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
    for child in psutil.Process(night.ui.process.pid).children():
        if word in child.cmdline():
            child.kill()
            night.ui.process.wait(60)  # it ends by itself
            return "ui ended"
    return "not there"


def kill_the_second_worker(night: Night) -> str:
    night.worker.kill()
    night.worker.wait()
    return "done"


def kill_ui(night: Night) -> str:
    night.ui.process.kill()
    return "done"


def kill_all(night: Night) -> str:
    """As a power cut does."""
    for root in (night.ui.process.pid, night.worker.pid):
        kill_tree(psutil.Process(root))
    night.worker.wait()
    return "done"


def ctrl_c(night: Night) -> str:
    stop_ui(night.ui)
    return f"exit {night.ui.process.returncode}"


def pause_the_pool(night: Night) -> str:
    night.ui.call("PATCH", f"/work_pools/{POOL}", {"is_paused": True})
    time.sleep(night.random.uniform(5, 40))
    night.ui.call("PATCH", f"/work_pools/{POOL}", {"is_paused": False})
    return "and resumed"


def suspend_and_resume(night: Night) -> str:
    if (run := night.running()) is None:
        return "nothing runs"
    night.ui.suspend(run)
    time.sleep(night.random.choice([0, 0, 5, 20]))
    night.ui.call("POST", f"/flow_runs/{run}/resume", {})
    return run


def cancel(night: Night) -> str:
    if (run := night.running()) is None:
        return "nothing runs"
    night.ui.set_state(run, "CANCELLING")
    return run


def delete(night: Night) -> str:
    if (run := night.running()) is None:
        return "nothing runs"
    night.ui.call("DELETE", f"/flow_runs/{run}")
    return run


def retry_twice(night: Night) -> str:
    ended = [run["id"] for run in night.ui.runs() if run["state"]["type"] in ("CRASHED", "FAILED")]
    if not ended:
        return "nothing to retry"
    run = night.random.choice(ended)
    for _ in range(2):
        night.ui.retry(run)
    return str(run)


def schedule_off_and_on(night: Night) -> str:
    night.ui.call("PATCH", night.schedule, {"active": False})
    time.sleep(night.random.uniform(5, 40))
    night.ui.call("PATCH", night.schedule, {"active": True})
    return "and on"


def start_two_rounds(night: Night) -> str:
    return night.ui.start(**PARAMETERS, rounds=2)


def let_the_store_refuse(night: Night) -> str:
    """One request in five, for a while."""
    night.line.refused = 0.2
    time.sleep(night.random.uniform(10, 40))
    night.line.refused = 0.0
    return f"{night.line.faults} refused so far"


DEEDS: tuple[Callable[[Night], str], ...] = (
    kill_an_engine, kill_the_worker, kill_the_server, kill_the_second_worker, kill_ui, kill_all, ctrl_c, pause_the_pool,
    suspend_and_resume, suspend_and_resume, cancel, delete, retry_twice, retry_twice, schedule_off_and_on,
    start_two_rounds, start_two_rounds, let_the_store_refuse,
)  # fmt: skip


class _Since:
    """How long a condition has held without a break."""

    def __init__(self) -> None:
        self._start: float | None = None

    def seconds(self, holds: bool) -> float:
        now = time.monotonic()
        self._start = (self._start or now) if holds else None
        return now - self._start if self._start else 0.0


def _watch(night: Night, ended: threading.Event) -> None:
    """Look at API and process table until the night has ended."""
    many, two, alone = _Since(), _Since(), _Since()
    while not ended.wait(0.5):
        engines = night.engines()
        if many.seconds(len(engines) > 1) > OVERLAP:
            night.fault(f"{len(engines)} runs have a process for more than {OVERLAP:.0f} s")
        try:
            running = [run for run in night.ui.runs() if run["state"]["type"] == "RUNNING"]
        except (OSError, AssertionError):  # `ui` is down
            alone.seconds(False)
            continue
        if two.seconds(len(running) > 1) > OVERLAP:
            night.fault(f"Running for more than {OVERLAP:.0f} s: {[run['name'] for run in running]}")
        if alone.seconds(bool(running) and not engines) > ALONE:
            night.fault(f"Running without a process for more than {ALONE:.0f} s: {[run['name'] for run in running]}")


def check_the_end(night: Night) -> None:
    """What must hold when the night is over."""
    night.line.refused = 0.0
    night.ui.call("PATCH", f"/work_pools/{POOL}", {"is_paused": False})
    night.ui.call("PATCH", night.schedule, {"active": True})
    for run in night.ui.runs():
        if run["state"]["name"] == "Suspended":
            night.ui.call("POST", f"/flow_runs/{run['id']}/resume", {})
    _last_scheduled_run_starts(night)
    night.ui.call("PATCH", night.schedule, {"active": False})
    _every_run_ends(night)
    _rounds_are_counted_right(night)
    _one_commit_a_stage(night)
    _no_slot_is_held(night)


def _last_scheduled_run_starts(night: Night) -> None:
    """Another run of the schedule starts soon after the runs before it have ended."""
    seen = {run["id"] for run in night.ui.runs() if run["start_time"]}

    def started() -> bool:
        return any(run["auto_scheduled"] and run["start_time"] and run["id"] not in seen for run in night.ui.runs())

    with _as_fault(night, "no scheduled run starts"):
        until(started, LAST, lambda: str([(run["name"], run["state"]["name"]) for run in night.ui.runs()][-8:]))
        night.note("the last scheduled run has started")


def _every_run_ends(night: Night) -> None:
    def open_runs() -> list[tuple[str, str]]:
        return [
            (run["name"], run["state"]["name"])
            for run in night.ui.runs()
            if run["state"]["type"] not in ENDED and not _is_ahead(run)
        ]

    with _as_fault(night, "a run has no final state"):
        until(lambda: not open_runs(), LAST, lambda: str(open_runs()))


def _is_ahead(run: dict[str, Any]) -> bool:
    now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    return run["state"]["type"] == "SCHEDULED" and run["expected_start_time"] > now


def _rounds_are_counted_right(night: Night) -> None:
    """A run plays no more rounds than it was asked for, however often it was retried; a completed run all of them."""
    for run in night.ui.runs():
        probed = [name for name, _ in night.ui.stages(run["id"]) if name.endswith(f"/{FOLDERS[0]}")]
        numbers = [int(name.partition("/")[0].removeprefix("round-")) for name in probed]
        asked = int(run["parameters"].get("rounds", 1))
        if numbers and max(numbers) - min(numbers) >= asked:
            night.fault(f"{run['name']} was asked for {asked} rounds and played {sorted(set(numbers))}")
        message = run["state"]["message"] or ""
        if run["state"]["type"] == "COMPLETED" and not message.startswith(f"{asked} of {asked} rounds"):
            night.fault(f"{run['name']} completed with: {message}")


def _one_commit_a_stage(night: Night) -> None:
    store = Store(night.ui.environment["ACTIVE_ZERO_STORE"])
    rounds = store.rounds(RUN)
    last = max(number for number in rounds if Place.round(store, RUN, number).manifest(FOLDERS[-1]))
    night.note(f"{last} rounds are complete")
    for number in rounds:
        entries = Place.round(store, RUN, number).journal.entries()
        commits = Counter(entry.commit.stage for entry in entries if entry.commit)
        if twice := [stage for stage, count in commits.items() if count > 1]:
            night.fault(f"round {number}: committed more than once: {twice}")
        missing = [stage for stage in FOLDERS if stage not in commits]
        if 0 < number <= last and missing:
            night.fault(f"round {number}: never committed: {missing}")


def _no_slot_is_held(night: Night) -> None:
    with _as_fault(night, "a slot is held by nobody"):
        until(lambda: night.ui.deployment()["global_concurrency_limit"]["active_slots"] == 0, 60)


@contextmanager
def _as_fault(night: Night, text: str) -> Iterator[None]:
    """Let a wait that fails become a fault of the night, so that the other checks are made."""
    try:
        yield
    except AssertionError as error:
        night.fault(f"{text}: {error}")


def report(night: Night, seed: int, path: Path) -> str:
    """The diary with the runs' last states, also written to a file."""
    states = Counter(f"{run['state']['name']}" for run in night.ui.runs() if not _is_ahead(run))
    head = [f"seed {seed}: {len(night.faults)} faults", f"runs by last state: {dict(states)}"]
    deeds = Counter(line.partition("  ")[2].partition(":")[0] for line in night.diary if re.search(r"  [a-z]", line))
    text = "\n".join([*head, f"deeds: {dict(deeds)}", "", *night.diary, ""])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return text
