"""What must hold through a bad night, and at its end, from the API, the process table and the store's journals.

A thread looks once a second. A claim may fail for some seconds, because a process needs them to end and a worker to
start the next one; what fails for longer is a fault of the night.
"""

from __future__ import annotations

import threading
import time
import urllib.error
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any

from flows.round import FOLDERS
from flows.server.api import POOL
from tasks.store import Place, Store
from tests.ui.conftest import ENDED, until
from tests.ui.night import RUN, Night, resume, switch

OVERLAP = 15.0
"""Seconds that a process may need to end after its run was taken from it, while the next one starts."""
SETTLED = 60.0
"""Seconds until a run without a process, or a slot without a run, must have been settled while `ui` is up."""
QUEUE = 45.0
"""Seconds for which a schedule may have two waiting runs: the queue is tidied every 10 s."""
NEXT = 90.0
"""Seconds until the next waiting run must start."""
SILENT = 120.0
"""Seconds for which the server may not answer while `ui` is up."""
LAST = 1200.0
"""Seconds until the last runs must have ended: those that were asked for play one after another."""


@dataclass(frozen=True)
class Look:
    """What was seen at one moment."""

    engines: int
    """Processes of flow runs."""
    runs: list[dict[str, Any]] = field(default_factory=list)
    """Flow runs that are due and have not ended."""
    slots: int = 0
    """Slots of the deployment that are taken."""
    paused: bool = False
    """Whether the pool is paused."""

    def named(self, *types: str) -> list[str]:
        """The names of the runs in a state of these types."""
        return [run["name"] for run in self.runs if run["state"]["type"] in types]

    @property
    def holding(self) -> list[str]:
        """The names of the runs that hold a slot."""
        return self.named("PENDING", "RUNNING", "CANCELLING")

    @property
    def waiting(self) -> list[str]:
        """The names of the runs that wait for their turn."""
        return self.named("SCHEDULED")

    @property
    def waiting_of_schedule(self) -> list[str]:
        """The names of those that the schedule has made."""
        return [run["name"] for run in self.runs if run["auto_scheduled"] and run["state"]["type"] == "SCHEDULED"]


@dataclass
class Claim:
    """Something that must not hold for more than `seconds` without a break."""

    seconds: float
    wrong: Callable[[Look], object]
    """What is wrong; something false where nothing is."""
    text: str
    since: float | None = None

    def check(self, look: Look) -> str | None:
        """The fault, if it has lasted too long."""
        if not (wrong := self.wrong(look)):
            self.since = None
            return None
        now = time.monotonic()
        self.since = self.since or now
        return f"{self.text} for more than {self.seconds:.0f} s: {wrong}" if now - self.since > self.seconds else None

    def forget(self) -> None:
        """Begin anew, because `ui` was down."""
        self.since = None


def _of_processes() -> list[Claim]:
    return [Claim(OVERLAP, lambda look: look.engines if look.engines > 1 else 0, "runs have processes side by side")]


def _of_server() -> list[Claim]:
    return [
        Claim(OVERLAP, lambda look: look.named("RUNNING") if len(look.named("RUNNING")) > 1 else 0, "two runs Running"),
        Claim(SETTLED, lambda look: look.holding if not look.engines else 0, "a run holds the slot without a process"),
        Claim(SETTLED, _slots_counted_wrongly, "slots are counted wrongly"),
        Claim(QUEUE, lambda look: len(look.waiting_of_schedule) > 1 and look.waiting_of_schedule, "two runs wait"),
        Claim(NEXT, _stuck, "runs wait and none starts"),
    ]


def _slots_counted_wrongly(look: Look) -> str | None:
    return f"{look.slots} taken by {look.holding}" if look.slots != len(look.holding) else None


def _stuck(look: Look) -> list[str]:
    return look.waiting if not (look.paused or look.holding) else []


@contextmanager
def watched(night: Night) -> Iterator[None]:
    """Look at the claims of the night for the time of the block."""
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(night, ended), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        if not watcher.is_alive():
            night.fault("the watching thread has ended with an error")
        ended.set()
        watcher.join(60)


def _watch(night: Night, ended: threading.Event) -> None:
    processes, server = _of_processes(), _of_server()
    silent = Claim(SILENT, lambda look: "no answer", "the server is silent")
    while not ended.wait(1.0):
        look = _look(night)
        claims = processes
        if isinstance(look, Look):
            silent.forget()
            claims = [*processes, *server]
            night.looks += 1
        else:
            look, claims = Look(look), [*processes, silent]
            for claim in server:
                claim.forget()
            if night.down or night.ui.process.poll() is not None:
                silent.forget()
        for text in filter(None, (claim.check(look) for claim in claims)):
            night.fault(text)


def _look(night: Night) -> Look | int:
    """What is seen now; only the number of processes where the server does not answer."""
    engines = len(night.engines())
    try:
        due = {"before_": datetime.now(UTC).isoformat()}
        runs = night.ui.runs(state={"type": {"not_any_": ENDED}}, expected_start_time=due)
        slots = night.ui.deployment()["global_concurrency_limit"]["active_slots"]
        paused = night.ui.call("GET", f"/work_pools/{POOL}")["is_paused"]
    except (OSError, HTTPException, ValueError):  # `ui` is down, or going down
        return engines
    return Look(engines, [run for run in runs if run["state"]["name"] != "Suspended"], slots, paused)


def check_the_end(night: Night) -> None:
    """What must hold when the night is over: all that was taken away is back, and every run can end."""
    switch(night, False)
    for run in night.ui.runs(state={"name": {"any_": ["Suspended"]}}):
        with suppress(urllib.error.HTTPError):  # refused: it has ended meanwhile, or is reported as not ended
            night.note(resume(night, run["id"]))
    _every_run_ends(night)
    _a_scheduled_run_starts_and_completes(night)
    _rounds_are_counted_right(night)
    _one_commit_a_stage(night)


def _every_run_ends(night: Night) -> None:
    def open_runs() -> list[str]:
        due = {"before_": datetime.now(UTC).isoformat()}
        runs = night.ui.runs(state={"type": {"not_any_": ENDED}}, expected_start_time=due)
        return [f"{run['name']} {run['state']['name']}" for run in runs]

    with _as_fault(night, "runs have no final state"):
        until(lambda: not open_runs(), LAST, lambda: str(open_runs()))
        night.note("every run has ended")
    with _as_fault(night, "a slot is held by nobody"):
        until(lambda: night.ui.deployment()["global_concurrency_limit"]["active_slots"] == 0, SETTLED)


def _a_scheduled_run_starts_and_completes(night: Night) -> None:
    seen = {run["id"] for run in night.ui.runs()}
    switch(night, True)

    def new(*types: str) -> list[dict[str, Any]]:
        runs = night.ui.runs(state={"type": {"any_": types}})
        return [run for run in runs if run["auto_scheduled"] and run["id"] not in seen]

    with _as_fault(night, "no scheduled run starts"):
        begin = time.monotonic()
        until(lambda: bool(new("RUNNING")), NEXT)
        night.note(f"the next scheduled run has started after {time.monotonic() - begin:.0f} s")
        switch(night, False)
        (run,) = new("RUNNING")
        state = night.ui.wait(run["id"])
        night.note(f"it is {state['name']}: {state['message']}")
        assert state["type"] == "COMPLETED", state["message"]


def _rounds_are_counted_right(night: Night) -> None:
    """A run plays no more rounds than it was asked for, however often it was started; a completed run all."""
    store = Store(night.ui.environment["ACTIVE_ZERO_STORE"])
    complete = {
        name: {number for number in store.rounds(name) if Place.round(store, name, number).manifest(FOLDERS[-1])}
        for name in ("default", RUN)
    }
    for run in night.ui.runs(state={"type": {"any_": ENDED}}):
        rounds = _rounds_of(night, run["id"])
        asked = int(run["parameters"].get("rounds", 1))
        if rounds and rounds[-1] - rounds[0] >= asked:
            night.fault(f"{run['name']} was asked for {asked} rounds and played {rounds}")
        if run["state"]["type"] != "COMPLETED":
            continue
        message = run["state"]["message"] or ""
        played = complete[run["parameters"].get("run", "default")]
        wanted = set(range(rounds[0], rounds[0] + asked)) if rounds else {0}
        if wanted - played or not message.startswith(f"{asked} of {asked} rounds"):
            night.fault(f"{run['name']} is completed with {rounds} of {asked} rounds: {message}")


def _rounds_of(night: Night, run: str) -> list[int]:
    """The rounds that a run has begun, also those that it has found complete in part."""
    suffix = f"/{FOLDERS[0]}"
    names = {name for name, _ in night.ui.stages(run) if name.endswith(suffix)}
    return sorted(int(name.removesuffix(suffix).removeprefix("round-")) for name in names)


def _one_commit_a_stage(night: Night) -> None:
    store = Store(night.ui.environment["ACTIVE_ZERO_STORE"])
    rounds = store.rounds(RUN)
    complete = [number for number in rounds if Place.round(store, RUN, number).manifest(FOLDERS[-1])]
    night.note(f"{len(complete)} rounds are complete")
    for number in rounds:
        entries = Place.round(store, RUN, number).journal.entries()
        commits = Counter(entry.commit.stage for entry in entries if entry.commit)
        if twice := [stage for stage, times in commits.items() if times > 1]:
            night.fault(f"round {number}: committed more than once: {twice}")
        missing = [stage for stage in FOLDERS if stage not in commits]
        if 0 < number <= max(complete, default=0) and missing:
            night.fault(f"round {number}: never committed: {missing}")


@contextmanager
def _as_fault(night: Night, text: str) -> Iterator[None]:
    """Let a wait that fails become a fault of the night, so that the other checks are made."""
    try:
        yield
    except AssertionError as error:
        night.fault(f"{text}: {error}")


def report(night: Night) -> str:
    """The diary below a table of deeds and of the runs' last states, also written to its file."""
    ended = night.ui.runs(state={"type": {"any_": ENDED}})
    counts = {
        "deeds": Counter(night.deeds),
        "runs by last state": Counter(run["state"]["name"] for run in ended),
        "runs by last message": Counter((run["state"]["message"] or "").partition(";")[0] for run in ended),
    }
    lines = [f"seed {night.seed}: {len(night.faults)} faults, {night.looks} looks"]
    for title, counter in counts.items():
        lines += ["", title, *(f"{number:5}  {name}" for name, number in sorted(counter.items()))]
    text = "\n".join([*lines, "", "faults", *night.faults, "", "diary", *night.diary, ""])
    night.path.write_text(text)
    return text
