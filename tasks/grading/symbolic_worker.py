"""The worker process of `symbolic`: reads pairs of LaTeX expressions, a JSON line each, and writes the outcomes.

The process imports math-verify once and compares in a forked child. The kernel kills a child that exceeds its processor
time (the default action of SIGPROF, which C code cannot delay); a watchdog thread ends a child that exceeds its clock
time. The next child is forked in milliseconds, without another import. The file is run by path, so that it imports
nothing of the package.
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
"""Limit of a worker's address space, in bytes. math-verify takes a quarter of it."""

WARM_UP = (("(x+1)^2", "x^2+2x+1"), (r"\frac{\sqrt{8}}{2}", r"\sqrt{2}"), (r"\sin x", "x"), ("1,2", r"\{2,1\}"))
"""Pairs compared before the first fork: every child inherits what sympy imports and builds at first use."""


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable(logging.CRITICAL)
    import math_verify

    for pair in WARM_UP:
        _equal(math_verify, *pair)
    _write("ready")
    while True:
        child = os.fork()
        if child == 0:
            _serve(math_verify)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) == 0:
            return
        _write({-signal.SIGPROF: "time-out", 1: "busy time-out"}.get(os.waitstatus_to_exitcode(status), "failed"))


def _serve(math_verify: Any) -> None:
    """Compare pairs until the parent closes the pipe. Exit status 2 means out of memory."""
    for line in sys.stdin:
        first, second, processor_seconds, seconds = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, processor_seconds)
        faulthandler.dump_traceback_later(seconds, exit=True)  # exit status 1
        try:
            outcome = "equal" if _equal(math_verify, first, second) else "different"
        except MemoryError:
            os._exit(2)
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
        _write(outcome)


def _write(line: str) -> None:
    print(line, flush=True)


def _equal(math_verify: Any, first: str, second: str) -> bool:
    """Whether math-verify finds the expressions equal, in either direction."""
    try:
        a, b = _with_imaginary_unit(_parsed(math_verify, first), _parsed(math_verify, second))
        return any(math_verify.verify(x, y, timeout_seconds=None) for x, y in ((a, b), (b, a)))
    except MemoryError:
        raise
    except Exception:  # an expression that math-verify cannot handle equals nothing
        return False


def _with_imaginary_unit(*parsed: Any) -> list[Any]:
    """The parsed answers, with the letter i as the imaginary unit if one of them is a complex number."""
    if not any(getattr(part, "is_extended_real", None) is False for answer in parsed for part in answer):
        return list(parsed)
    return [[_complex(part) if hasattr(part, "free_symbols") else part for part in answer] for answer in parsed]


def _complex(expression: Any) -> Any:
    unit = sys.modules["sympy"].I
    return expression.subs({symbol: unit for symbol in expression.free_symbols if symbol.name == "i"})


def _parsed(math_verify: Any, latex: str) -> Any:
    config = math_verify.LatexExtractionConfig(boxed_match_priority=0)
    return math_verify.parse(rf"\boxed{{{latex}}}", [config], parsing_timeout=None)


if __name__ == "__main__":
    main()
