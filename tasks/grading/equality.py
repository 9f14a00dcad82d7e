"""Whether two answers are the same, in layers: notation, typed canonical forms, then algebra.

The forms decide nearly every pair at the cost of a dictionary look-up; only where one side is symbolic and no form
decides is math-verify asked (see `symbolic`). Unknown counts as not equal, and the reason says so.
"""

from typing import NamedTuple

from tasks.grading.canonical import canonical
from tasks.grading.forms import Form, Nothing, alike
from tasks.grading.notation import latex, unified
from tasks.grading.symbolic import ask


class Equality(NamedTuple):
    """`reason` is `same form`, `alike`, `different`, `no answer`, or `algebra: ...` with its outcome."""

    equal: bool
    reason: str

    def __bool__(self) -> bool:
        """So that `if equal(a, b)` means what it says: a tuple of two would always be true."""
        return self.equal


_SAME = Equality(True, "same form")
_ALIKE = Equality(True, "alike")
_DIFFERENT = Equality(False, "different")
_NO_ANSWER = Equality(False, "no answer")


def equal(a: str, b: str) -> Equality:
    """Whether two answers say the same. Symmetric; an empty answer, `None` and NaN equal nothing."""
    first, second = canonical(a), canonical(b)
    verdict = _by_form(first, second)
    if verdict is not None:
        return verdict
    outcome = ask(latex(unified(a)), latex(unified(b)), frozenset((first, second)))
    return Equality(outcome == "equal", f"algebra: {outcome}")


def equal_in_form(a: str, b: str) -> bool:
    """Whether the canonical forms alone show that two answers say the same."""
    return bool(_by_form(canonical(a), canonical(b)))


def _by_form(first: Form, second: Form) -> Equality | None:
    if isinstance(first, Nothing) or isinstance(second, Nothing):
        return _NO_ANSWER
    if first == second:
        return _SAME
    verdict = alike(first, second)
    return None if verdict is None else _ALIKE if verdict else _DIFFERENT
