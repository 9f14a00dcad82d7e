"""The process behind `symbolic`: reads pairs of LaTeX expressions, one JSON line each, and says whether they are equal.

It imports math-verify once and answers from a forked child. The kernel ends a child that uses up its processor time
(SIGPROF's default action, so C code cannot hold it off), a watchdog thread one that overruns on the clock; the next
child is there in milliseconds, without another import. Run by path, so that it imports nothing of the package.
"""

import faulthandler
import json
import logging
import os
import resource
import signal
import sys
from typing import Any

MEMORY = 768 << 20
"""Bytes of address space of one worker; math-verify takes a quarter of it."""

WARM_UP = (("(x+1)^2", "x^2+2x+1"), (r"\frac{\sqrt{8}}{2}", r"\sqrt{2}"), (r"\sin x", "x"), ("1,2", r"\{2,1\}"))
"""What sympy imports and builds when first used is paid for here, and every child inherits it."""


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable(logging.CRITICAL)
    import math_verify

    for pair in WARM_UP:
        _answer(math_verify, *pair)
    _say("ready")
    while True:
        child = os.fork()
        if child == 0:
            _serve(math_verify)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) == 0:
            return
        _say({-signal.SIGPROF: "time-out", 1: "busy time-out"}.get(os.waitstatus_to_exitcode(status), "failed"))


def _serve(math_verify: Any) -> None:
    """Answers until the parent closes the pipe; out of memory, it leaves with exit status 2."""
    for line in sys.stdin:
        first, second, processor_seconds, seconds = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, processor_seconds)
        faulthandler.dump_traceback_later(seconds, exit=True)  # exit status 1
        try:
            outcome = "equal" if _answer(math_verify, first, second) else "different"
        except MemoryError:
            os._exit(2)
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
        _say(outcome)


def _say(line: str) -> None:
    print(line, flush=True)


def _answer(math_verify: Any, first: str, second: str) -> bool:
    try:
        a, b = _parsed(math_verify, first), _parsed(math_verify, second)
        return any(math_verify.verify(x, y, timeout_seconds=None) for x, y in ((a, b), (b, a)))
    except MemoryError:
        raise
    except Exception:  # an expression that math-verify cannot handle equals nothing
        return False


def _parsed(math_verify: Any, latex: str) -> Any:
    config = math_verify.LatexExtractionConfig(boxed_match_priority=0)
    return math_verify.parse(rf"\boxed{{{latex}}}", [config], parsing_timeout=None)


if __name__ == "__main__":
    main()
