"""Algebraic equality by math-verify, in worker processes with limits on processor time, clock time and memory.

math-verify's own time limits are off: they rely on signals of the main thread and do not stop C code (9**9**9 runs for
minutes and takes gigabytes). Instead, the worker process that exceeds a limit is killed. Workers start at the first
request, because importing sympy takes seconds, and serve one request at a time. `verify` is not symmetric; the worker
tries both directions, and one is enough.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import os
import queue
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Hashable
from pathlib import Path
from typing import Literal, cast, get_args

from cachetools import LRUCache

Outcome = Literal["equal", "different", "refused", "time-out", "busy time-out", "failed"]
"""- `refused`: too costly, so no worker compared it.
- `time-out`: the limit of processor time was exceeded, which would happen again.
- `busy time-out`: no worker was free, or the clock ran out on a busy machine; another attempt may decide it.
- `failed`: the worker died, most likely of its memory limit.
"""

LONGEST = 256
"""Characters of the longest expression that is compared."""
DEEPEST = 12
"""Greatest nesting of brackets that is compared."""
PROCESSOR_SECONDS = 0.8
"""Limit for one pair; ordinary pairs take 5 to 350 ms. Processor time gives the same results on a busy machine."""
SECONDS = 2.6
"""Limit of clock time for one call, waiting for a worker included. Only a busy machine or many time-outs reach it."""
SECONDS_ONCE_READY = 1.4
"""A call waits at least this long after the first worker is ready, because starting takes long on a busy machine."""
REPLY_GRACE = 0.7
"""A worker that is silent for so long after its child's time limit is replaced."""
START_SECONDS = 180.0
"""Limit for a worker to import math-verify: 2.4 s on an idle core, 25 s beside ten other processes."""
CACHED_PAIRS = 1 << 14
"""Pairs whose outcome is cached."""
WORKERS = 2

_STACKED_POWERS = re.compile(r"\^\s*(?:\{[^{}]*\^|\([^()]*\^|-?\w+\s*\^)")
_POWER_OF_A_GROUP = re.compile(r"\}\s*\^")
_LONG_EXPONENT = re.compile(r"(?:\^|\*\*)\s*[{(]?\s*-?\s*\d{4,}")
_UNBOUNDED = re.compile(r"!|\\(?:sum|prod|int|iint|oint|lim|binom)(?![a-zA-Z])|[∑∏∫]")


def too_costly(latex: str) -> bool:
    """Whether an expression may cost far more than its length suggests: powers of powers, factorials, sums."""
    if len(latex) > LONGEST or _STACKED_POWERS.search(latex) or _LONG_EXPONENT.search(latex):
        return True
    if any(_has_power(latex, match.start()) for match in _POWER_OF_A_GROUP.finditer(latex)):
        return True
    return _UNBOUNDED.search(latex) is not None or _nesting(latex) > DEEPEST


def _has_power(latex: str, end: int) -> bool:
    """Whether the group that closes at `end` is an exponent or has one inside."""
    depth, start = 1, end
    while depth and start:
        start -= 1
        depth += (latex[start] == "}") - (latex[start] == "{")
    return "^" in latex[start:end] or latex[:start].rstrip().endswith("^")


def _nesting(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest


def algebra_outcome(first: str, second: str, key: Hashable = None) -> Outcome:
    """Whether two LaTeX expressions are equal, in either order. `key` identifies the pair in the cache."""
    if too_costly(first) or too_costly(second):
        return "refused"
    pair = sorted((first, second))
    key = key or tuple(pair)
    with _cache_lock:
        outcome = _outcomes.get(key)
    if outcome is None:
        outcome = _compare_in_worker(*pair)
        if outcome not in ("busy time-out", "failed"):
            with _cache_lock:
                _outcomes[key] = outcome
    return outcome


def _compare_in_worker(first: str, second: str) -> Outcome:
    start = time.monotonic()
    worker = _free_worker(start)
    if worker is None:
        return "busy time-out"
    try:
        worker.start()
        outcome = worker.compare(first, second, min(SECONDS, max(0.05, _deadline(start) - time.monotonic())))
    except WorkerLost:
        threading.Thread(target=_restart, args=(worker,), daemon=True).start()
        return "failed"
    _idle.put(worker)
    return outcome


def _restart(worker: Worker) -> None:
    """Start the worker again in the background, so that no call waits for the import."""
    with contextlib.suppress(WorkerLost):
        worker.start()
    _idle.put(worker)


def _free_worker(start: float) -> Worker | None:
    """An idle worker; None if none is free before the deadline."""
    while True:
        try:
            return _idle.get(timeout=0.1)
        except queue.Empty:
            if time.monotonic() > _deadline(start):
                return None


def _deadline(start: float) -> float:
    """The time at which a call that began at `start` gives up: infinity until the first worker is ready."""
    return max(start + SECONDS, min(worker.ready_at for worker in _workers) + SECONDS_ONCE_READY)


class WorkerLost(Exception):
    """The worker process did not start, or died."""


class Worker:
    """One worker process, started at its first request."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self.ready_at = math.inf
        """Monotonic time at which the worker first became ready."""

    def start(self) -> None:
        """Start the process unless it runs. WorkerLost if it does not start."""
        if self._process is not None and self._process.poll() is None:
            return
        self.stop()
        try:
            self._process = _start()
        finally:
            self.ready_at = min(self.ready_at, time.monotonic())

    def compare(self, first: str, second: str, seconds: float = SECONDS) -> Outcome:
        """The outcome for two LaTeX expressions, within so many seconds of clock time plus `REPLY_GRACE`.

        WorkerLost if the worker does not reply.
        """
        self.start()
        assert self._process is not None
        request = json.dumps([first, second, PROCESSOR_SECONDS, seconds])
        reply = _exchange(self._process, request, seconds + REPLY_GRACE)
        if reply in get_args(Outcome):
            return cast(Outcome, reply)
        self.stop()
        raise WorkerLost

    def stop(self) -> None:
        """Kill the process and its child."""
        if self._process is not None:
            _kill(self._process)
            self._process = None


def _start() -> subprocess.Popen[bytes]:
    """A new worker process that has imported math-verify. WorkerLost after `START_SECONDS`."""
    script = Path(__file__).with_name("symbolic_worker.py")
    process = subprocess.Popen(
        [sys.executable, "-P", str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    if _read_line(process, START_SECONDS) == "ready":
        return process
    _kill(process)
    raise WorkerLost


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and its child, which would hold the pipes open."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _exchange(process: subprocess.Popen[bytes], request: str, seconds: float) -> str | None:
    """Send a request and read the reply; None if there is no reply in time."""
    assert process.stdin is not None
    try:
        process.stdin.write(request.encode() + b"\n")
        process.stdin.flush()
    except OSError:
        return None
    return _read_line(process, seconds)


def _read_line(process: subprocess.Popen[bytes], seconds: float) -> str | None:
    """One line of the process's output; None after `seconds`, or at the end of the output."""
    assert process.stdout is not None
    poll = select.poll()  # `select` refuses descriptors above 1024
    poll.register(process.stdout, select.POLLIN)
    end, line = time.monotonic() + seconds, b""
    while not line.endswith(b"\n"):
        ready = poll.poll(1000 * max(0.0, end - time.monotonic()))
        piece = os.read(process.stdout.fileno(), 4096) if ready else b""
        if not piece:
            return None
        line += piece
    return line.decode().strip()


_outcomes: LRUCache[Hashable, Outcome] = LRUCache(CACHED_PAIRS)
_cache_lock = threading.Lock()
_workers: list[Worker] = []
_idle: queue.LifoQueue[Worker] = queue.LifoQueue()


def _new_pool() -> None:
    """Make new workers. A forked child must not share its parent's pipes, nor a lock that another thread held."""
    global _idle, _cache_lock
    _cache_lock = threading.Lock()
    _workers[:] = [Worker() for _ in range(WORKERS)]
    _idle = queue.LifoQueue()
    for worker in _workers:
        _idle.put(worker)


def _stop_all() -> None:
    for worker in _workers:
        worker.stop()


_new_pool()
os.register_at_fork(after_in_child=_new_pool)
atexit.register(_stop_all)
