"""Algebraic equality by math-verify, in worker processes that are ended when they overrun.

math-verify's own time limits rely on signals of the main thread and do not stop C code (9**9**9 runs for minutes and
takes gigabytes), so both are off and a process with limits on processor time, clock time and memory stands in for
them. Workers start when first asked (importing sympy takes seconds) and serve one request at a time. `verify` is not
symmetric: the worker asks both ways, and one way is enough.
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

Outcome = Literal["equal", "different", "refused", "time-out", "busy time-out", "failed"]
"""`refused` unasked; `time-out` on processor time, which would happen again; `busy time-out`: no worker was free or got
on by the clock, so another day it may be decided; `failed`: a worker broke off, for want of memory most likely."""

LONGEST = 256
DEEPEST = 12
PROCESSOR_SECONDS = 0.8
"""For one pair; ordinary pairs take 5 to 350 ms. Processor time, so that a busy machine gives the same verdicts."""
SECONDS = 2.6
"""For one call by the clock, waiting for a worker included. Only a busy machine or a flood of overruns gets there."""
SECONDS_ONCE_READY = 1.4
"""At least this long after the workers have started, which a busy machine may take long over."""
REPLY_GRACE = 0.7
"""A worker that is silent for so long after its child should have been ended is replaced."""
START_SECONDS = 180.0
"""For a worker to import math-verify: 2.4 s on an idle core, 25 s beside ten other processes."""
DECIDED = 1 << 14
"""Pairs whose outcome is kept."""
WORKERS = 2

_STACKED_POWERS = re.compile(r"\^\s*(?:\{[^{}]*\^|\([^()]*\^|-?\w+\s*\^)|\}\s*\^")
_LONG_EXPONENT = re.compile(r"(?:\^|\*\*)\s*[{(]?\s*-?\s*\d{4,}")
_UNBOUNDED = re.compile(r"!|\\(?:sum|prod|int|iint|oint|lim|binom)(?![a-zA-Z])|[∑∏∫]")


def refused(latex: str) -> bool:
    """Whether an expression may cost far more than its length suggests."""
    if len(latex) > LONGEST or _STACKED_POWERS.search(latex) or _LONG_EXPONENT.search(latex):
        return True
    return _UNBOUNDED.search(latex) is not None or _nesting(latex) > DEEPEST


def _nesting(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest


def ask(first: str, second: str, key: Hashable = None) -> Outcome:
    """Whether two LaTeX expressions are equal; the order does not matter. `key` stands for the pair in the cache."""
    if refused(first) or refused(second):
        return "refused"
    pair = sorted((first, second))
    known = _decided.get(key or tuple(pair))
    return known or _remembered(key or tuple(pair), _asked(*pair))


def _remembered(key: Hashable, outcome: Outcome) -> Outcome:
    if outcome not in ("busy time-out", "failed"):
        while len(_decided) >= DECIDED:
            _decided.pop(next(iter(_decided), None), None)
        _decided[key] = outcome
    return outcome


def _asked(first: str, second: str) -> Outcome:
    begun = time.monotonic()
    worker = _free_worker(begun)
    if worker is None:
        return "busy time-out"
    try:
        worker.start()
        outcome = worker.ask(first, second, min(SECONDS, max(0.05, _deadline(begun) - time.monotonic())))
    except WorkerLost:
        threading.Thread(target=_revive, args=(worker,), daemon=True).start()
        return "failed"
    _idle.put(worker)
    return outcome


def _revive(worker: Worker) -> None:
    """Starts it again beside the work, so that no call waits for an import."""
    with contextlib.suppress(WorkerLost):
        worker.start()
    _idle.put(worker)


def _free_worker(begun: float) -> Worker | None:
    while True:
        try:
            return _idle.get(timeout=0.1)
        except queue.Empty:
            if time.monotonic() > _deadline(begun):
                return None


def _deadline(begun: float) -> float:
    """When a call that began then gives up. Until the first worker is there, it does not."""
    return max(begun + SECONDS, min(worker.ready_at for worker in _workers) + SECONDS_ONCE_READY)


class WorkerLost(Exception):
    """The process did not start or broke off."""


class Worker:
    """One process, started when first asked."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self.ready_at = math.inf
        """When it first became ready, on the monotonic clock."""

    def start(self) -> None:
        """The process, if it is not there already. WorkerLost where it cannot be had."""
        if self._process is not None and self._process.poll() is None:
            return
        self.stop()
        try:
            self._process = _start()
        finally:
            self.ready_at = min(self.ready_at, time.monotonic())

    def ask(self, first: str, second: str, seconds: float = SECONDS) -> Outcome:
        """The outcome within the seconds (by the clock), and some grace. WorkerLost if there is none."""
        self.start()
        assert self._process is not None
        request = json.dumps([first, second, PROCESSOR_SECONDS, seconds])
        reply = _exchange(self._process, request, seconds + REPLY_GRACE)
        if reply in get_args(Outcome):
            return cast(Outcome, reply)
        self.stop()
        raise WorkerLost

    def stop(self) -> None:
        """Ends the process and its child."""
        if self._process is not None:
            _end(self._process)
            self._process = None


def _start() -> subprocess.Popen[bytes]:
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
    _end(process)
    raise WorkerLost


def _end(process: subprocess.Popen[bytes]) -> None:
    """The process and the child it answers from, which would hold the pipes open."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _exchange(process: subprocess.Popen[bytes], request: str, seconds: float) -> str | None:
    assert process.stdin is not None
    try:
        process.stdin.write(request.encode() + b"\n")
        process.stdin.flush()
    except OSError:
        return None
    return _read_line(process, seconds)


def _read_line(process: subprocess.Popen[bytes], deadline: float) -> str | None:
    """One line of the process's output, or None after the deadline or at the end of the output."""
    assert process.stdout is not None
    poll = select.poll()  # `select` refuses descriptors above 1024
    poll.register(process.stdout, select.POLLIN)
    end, line = time.monotonic() + deadline, b""
    while not line.endswith(b"\n"):
        ready = poll.poll(1000 * max(0.0, end - time.monotonic()))
        piece = os.read(process.stdout.fileno(), 4096) if ready else b""
        if not piece:
            return None
        line += piece
    return line.decode().strip()


_decided: dict[Hashable, Outcome] = {}
_workers: list[Worker] = []
_idle: queue.LifoQueue[Worker] = queue.LifoQueue()


def _new_pool() -> None:
    """Fresh workers; a forked child must not share its parent's pipes."""
    global _idle
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
