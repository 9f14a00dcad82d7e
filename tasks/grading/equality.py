"""Whether two answers are equal: by typed canonical forms, and by algebra where the forms do not decide.

The forms decide nearly every pair at the cost of a dictionary look-up. math-verify is used only if one side is
symbolic and no form decides (see `symbolic`). A pair that the algebra could not decide in its time is `unknown`: it is
not equal, and callers count it.
"""

import re
from fractions import Fraction
from typing import NamedTuple

from tasks.grading.canonical import canonical
from tasks.grading.forms import Form, Named, Nothing, Quantity, compatible
from tasks.grading.notation import latex, unified
from tasks.grading.symbolic import algebra_outcome


class Equality(NamedTuple):
    """The result of a comparison, and how it was decided.

    `reason` is `same form`, `compatible`, `different`, `no answer`, or `algebra: ...` with the outcome of the algebra.
    """

    equal: bool
    reason: str

    @property
    def unknown(self) -> bool:
        """Whether the algebra ran out of time or memory, so that nothing is known about the pair."""
        return self.reason in _UNDECIDED

    def __bool__(self) -> bool:
        """The result itself: a plain tuple of two would always be true."""
        return self.equal


_UNDECIDED = frozenset({"algebra: time-out", "algebra: busy time-out", "algebra: failed"})
_SAME = Equality(True, "same form")
_COMPATIBLE = Equality(True, "compatible")
_DIFFERENT = Equality(False, "different")
_UNKNOWN = Equality(False, "algebra: time-out")
NO_ANSWER = Equality(False, "no answer")


def equal(a: str, b: str) -> Equality:
    """Whether two answers are equal. Symmetric; never raises; an empty answer, `None` and NaN equal nothing."""
    first, second = canonical(a), canonical(b)
    by_form = _by_form(first, second)
    if by_form is not None:
        return by_form
    outcome = algebra_outcome(*_distinct_cases(latex(unified(a)), latex(unified(b))), frozenset((first, second)))
    return Equality(outcome == "equal", f"algebra: {outcome}")


_LETTER = re.compile(r"\\[a-zA-Z]+|([a-zA-Z])")


_CAPITAL = re.compile(r"\\(Gamma|Delta|Theta|Lambda|Xi|Pi|Sigma|Upsilon|Phi|Psi|Omega)(?![a-zA-Z])")


def _distinct_cases(a: str, b: str) -> tuple[str, str]:
    """The expressions with another name for each capital letter whose small letter occurs too.

    The parser of the algebra takes `V` and `v` for one symbol.
    """
    letters = {letter for text in (a, b) for letter in _LETTER.findall(text) if letter}
    both = {letter for letter in letters if letter.isupper() and letter.lower() in letters}

    def renamed(match: re.Match[str]) -> str:
        return f"{match[1].lower()}_{{99}} " if match[1] in both else match[0]

    if both:
        a, b = _LETTER.sub(renamed, a), _LETTER.sub(renamed, b)
    return _CAPITAL.sub(_small_with_index, a), _CAPITAL.sub(_small_with_index, b)


def _small_with_index(capital: re.Match[str]) -> str:
    return rf"\{capital[1].lower()}_{{98}} "


def value_of(text: str) -> float | None:
    """The number that an answer states, in whatever notation (`2/3`, `\\frac{2}{3}`, `0.5π`); None for anything else.

    A unit is left out: the value of `3 cm` is 3.
    """
    form = canonical(text)
    form = form.value if isinstance(form, Named) else form
    if not isinstance(form, Quantity) or form.stated is None:
        return None
    return float(form.stated if isinstance(form.stated, Fraction) else form.stated.approximately())


def equal_in_form(a: str, b: str) -> Equality:
    """Whether two answers are equal by their canonical forms alone; unknown where only algebra can decide."""
    return _by_form(canonical(a), canonical(b)) or _UNKNOWN


def _by_form(first: Form, second: Form) -> Equality | None:
    """The result by canonical forms; None if only algebra can decide."""
    if isinstance(first, Nothing) or isinstance(second, Nothing):
        return NO_ANSWER
    if first == second:
        return _SAME
    same = compatible(first, second)
    return None if same is None else _COMPATIBLE if same else _DIFFERENT
