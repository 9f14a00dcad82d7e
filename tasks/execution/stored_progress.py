"""Progress that other processes read: while a stage works, its folder holds what it has reported last.

A page about a round in progress shows it. Nothing depends on it: a fault of the store is logged once and costs the page
a number, not the stage its work. A killed stage leaves the file; its time says how old it is.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime

from tasks.execution.progress import Snapshot, line
from tasks.settings.base import Frozen
from tasks.store import Place, StoreFault

PROGRESS = "progress.json"
EVERY = 5.0
"""Seconds between two writes, and before the first: shorter stages write nothing."""

log = logging.getLogger(__name__)


class LiveProgress(Frozen):
    """The latest progress of a stage at work."""

    stage: str
    line: str
    """As the log has it: `6-filter, answers: 120/640 (19 %), 2 min 10 s left`."""
    done: int
    total: int | None
    at: datetime
    """UTC, when it was written."""


class StoredProgress:
    """A listener that writes the latest snapshot into a stage's folder, at most every `every` seconds."""

    def __init__(self, place: Place, stage: str, every: float = EVERY) -> None:
        self._files, self._path, self._stage = place.store.files, path_of(place, stage), place.folder(stage)
        self._every, self._last, self._written = every, time.monotonic(), False
        self._writing, self._failed = threading.Lock(), False

    def __call__(self, snapshot: Snapshot) -> None:
        if (
            not snapshot.done
            or time.monotonic() - self._last < self._every
            or not self._writing.acquire(blocking=False)
        ):
            return
        try:
            self._last = time.monotonic()
            self._write(snapshot)
        finally:
            self._writing.release()

    def _write(self, snapshot: Snapshot) -> None:
        live = LiveProgress(
            stage=self._stage, line=line(snapshot), done=snapshot.done, total=snapshot.total, at=datetime.now(UTC)
        )
        try:
            self._files.replace(self._path, live.model_dump_json().encode())
            self._written = True
        except StoreFault as error:
            if not self._failed:
                log.warning("%s: its progress is not in the store: %s", self._stage, error)
            self._failed = True

    def clear(self) -> None:
        """Remove what was written: the stage has ended."""
        if self._written:
            try:
                self._files.remove(self._path)
            except StoreFault as error:
                log.warning("%s: %s stays: %s", self._stage, PROGRESS, error)


def read_progress(place: Place, stage: str) -> LiveProgress | None:
    """What a stage at work has written last; None where it has written nothing."""
    try:
        return LiveProgress.model_validate_json(place.store.files.read(path_of(place, stage)))
    except (FileNotFoundError, ValueError):
        return None


def path_of(place: Place, stage: str) -> str:
    """Where a stage's progress lies."""
    return f"{place.store.root}/{place.prefix}/{place.folder(stage)}/{PROGRESS}"
