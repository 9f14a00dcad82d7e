"""Algebraic equality by math-verify, in worker processes that are ended when they overrun.

math-verify's own time limits rely on signals of the main thread and do not stop C code (9**9**9 runs for minutes and
takes gigabytes), so both are off and a process with limits on processor time, clock time and memory stands in for
them. Workers start when first asked (importing sympy takes seconds) and serve one request at a time. `verify` is not
symmetric: the worker asks both ways, and one way is enough.
"""

import atexit
import contextlib
import json
import os
import queue
import re
import select
import signal
import subprocess
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Literal, cast, get_args

Outcome = Literal["equal", "different", "refused", "time-out", "failed"]

LONGEST = 256
DEEPEST = 12
PROCESSOR_SECONDS = 0.8
"""For one pair; ordinary pairs take 5 to 350 ms. Processor time, so that a busy machine gives the same verdicts; eight
threads that all overrun share two cores for 3.2 s."""
SECONDS = 10.0
"""For one pair by the clock: only a starved machine gets there."""
REPLY_SECONDS = SECONDS + 0.5
"""After this the worker itself is replaced."""
START_SECONDS = 180.0
"""For a worker to import math-verify: 3 s on an idle core, 25 s beside ten other processes."""
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


def ask(first: str, second: str) -> Outcome:
    """Whether two LaTeX expressions are equal; the order does not matter."""
    if refused(first) or refused(second):
        return "refused"
    try:
        return _ask(*sorted((first, second)))
    except WorkerLost:
        return "failed"


@lru_cache(maxsize=4096)
def _ask(first: str, second: str) -> Outcome:
    worker = _idle.get()
    try:
        return worker.ask(first, second)
    finally:
        _idle.put(worker)


class WorkerLost(Exception):
    """The process did not start or broke off. Raised, so that the cache does not keep it."""


class Worker:
    """One process, started when first asked."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, first: str, second: str) -> Outcome:
        reply = _exchange(self._running(), json.dumps([first, second, PROCESSOR_SECONDS, SECONDS]))
        if reply in get_args(Outcome):
            return cast(Outcome, reply)
        self.stop()
        raise WorkerLost

    def stop(self) -> None:
        if self._process is not None:
            _end(self._process)
            self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.stop()
            self._process = _start()
        return self._process


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


def _exchange(process: subprocess.Popen[bytes], request: str) -> str | None:
    assert process.stdin is not None
    try:
        process.stdin.write(request.encode() + b"\n")
        process.stdin.flush()
    except OSError:
        return None
    return _read_line(process, REPLY_SECONDS)


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
