"""Progress reporting. Long work calls `track`; the caller decides with `listen` where the updates go.

    with track(len(requests), "answers") as progress:
        for batch in batches:
            ...
            progress.advance(len(batch), reward=0.41)

Without a listener, the log gets a line at most every ten seconds.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Snapshot:
    """The progress of one tracked piece of work."""

    key: int
    """The same for all snapshots of one `track`."""
    path: tuple[str, ...]
    """Names of the nested pieces of work, outermost first: `("6-filter", "answers")`."""
    done: int
    total: int | None
    """None where it is unknown beforehand."""
    figures: Mapping[str, float]
    """The latest value of each figure: reward, loss, ..."""
    seconds: float
    """Since the start."""
    finished: bool = False

    @property
    def left(self) -> float | None:
        """Seconds left at the mean speed so far; None while unknown."""
        if self.total is None or self.done == 0:
            return None
        return self.seconds / self.done * max(0, self.total - self.done)


Listener = Callable[[Snapshot], None]


class Log(Protocol):
    """A logger, or Prefect's logger adapter."""

    def info(self, msg: str, *args: object) -> None: ...


class LogLines:
    """A listener that logs a line at most every `every` seconds, the first after `every` seconds."""

    def __init__(self, log: Log, every: float = 10.0) -> None:
        self._log, self._every = log, every
        self._last = time.monotonic()

    def __call__(self, snapshot: Snapshot) -> None:
        if snapshot.done and time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            self._log.info("%s", line(snapshot))


class Progress:
    """Counts what is done. Several threads may call it."""

    def __init__(self, path: tuple[str, ...], total: int | None, listener: Listener) -> None:
        self._path, self._total, self._listener = path, total, listener
        self._key, self._started, self._lock = next(_keys), time.monotonic(), threading.Lock()
        self._done, self._figures = 0, dict[str, float]()

    def advance(self, n: int = 1, **figures: float) -> None:
        """Report that `n` more are done; `figures` are the latest values worth showing."""
        with self._lock:
            self._done += n
            self._figures |= figures
            self.report()

    def report(self, finished: bool = False) -> None:
        """Send a snapshot to the listener."""
        seconds = time.monotonic() - self._started
        snapshot = Snapshot(self._key, self._path, self._done, self._total, dict(self._figures), seconds, finished)
        self._listener(snapshot)


@contextmanager
def track(total: int | None, what: str) -> Iterator[Progress]:
    """Report a piece of work to the listener, from its start to its end, also when it fails."""
    path = (*_path.get(), what)
    token = _path.set(path)
    progress = Progress(path, total, _listener.get() or _default)
    progress.report()
    try:
        yield progress
    finally:
        progress.report(finished=True)
        _path.reset(token)


@contextmanager
def listen(listener: Listener) -> Iterator[None]:
    """Send snapshots of all work tracked inside this block to `listener`."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def also(listener: Listener) -> Iterator[None]:
    """Send snapshots inside this block to `listener` too, besides the one that hears them already."""
    first = _listener.get() or _default

    def both(snapshot: Snapshot) -> None:
        first(snapshot)
        listener(snapshot)

    with listen(both):
        yield


def listening() -> bool:
    """Whether a listener is set."""
    return _listener.get() is not None


def line(snapshot: Snapshot) -> str:
    """`6-filter, answers: 120/640 (19 %), reward 0.41, 2 min 10 s left`."""
    share = "" if snapshot.total is None else f"/{snapshot.total} ({100 * snapshot.done // max(1, snapshot.total)} %)"
    figures = [f"{name} {value:.3g}" for name, value in snapshot.figures.items()]
    left = [] if snapshot.left is None else [f"{duration(snapshot.left)} left"]
    return f"{', '.join(snapshot.path)}: " + ", ".join([f"{snapshot.done}{share}", *figures, *left])


def duration(seconds: float) -> str:
    """`42 s`, `2 min 10 s`, `3 h 5 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


_keys = itertools.count()
_path: ContextVar[tuple[str, ...]] = ContextVar("path", default=())
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)
_default = LogLines(logging.getLogger(__name__))
