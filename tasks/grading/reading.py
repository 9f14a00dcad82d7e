"""Explanations of a comparison in words, for `active-zero grade`."""

from __future__ import annotations

from fractions import Fraction

from tasks.grading.canonical import canonical
from tasks.grading.constants import Number
from tasks.grading.equality import Equality
from tasks.grading.forms import (
    AnswerList,
    Choice,
    Date,
    Expression,
    Form,
    Named,
    Nothing,
    NumberInterval,
    NumberRange,
    PlainText,
    Quantity,
    Ratio,
    TimeOfDay,
    Truth,
)

_REASONS = {
    "same form": "the same value",
    "compatible": "the same, as far as both are specific",
    "different": "not the same",
    "no answer": "no answer equals nothing, not even itself",
    "algebra: equal": "the same by algebra",
    "algebra: different": "not the same by algebra",
    "algebra: refused": "too large for algebra, so it counts as not the same",
    "algebra: time-out": "algebra ran out of time, so it counts as not the same",
    "algebra: busy time-out": "no time for algebra on this busy machine, so it counts as not the same",
    "algebra: failed": "algebra failed, so it counts as not the same",
}


def explain(a: str, b: str, result: Equality) -> str:
    """One line: how each answer was read, and the result."""
    return f"{describe(canonical(a))} | {describe(canonical(b))}: {_REASONS[result.reason]}"


def describe(form: Form) -> str:
    """A canonical form in words."""
    match form:
        case Nothing():
            return "no answer"
        case Choice(letter, text):
            return f"option {letter}" + (f" ({describe(text)})" if text else "")
        case Truth(value):
            return "yes" if value else "no"
        case Quantity():
            return f"the number {_number(form.value)}" if form.bare else _measured(form)
        case TimeOfDay(seconds, certain, _):
            hours, minutes, rest = seconds // 3600, seconds // 60 % 60, seconds % 60
            return (
                f"the time {hours}:{minutes:02}" + (f":{rest:02}" if rest else "") + ("" if certain else ", am or pm")
            )
        case Date(year, month, day):
            return "the date " + "-".join(str(part) for part in (year, month, day) if part is not None)
        case Ratio(terms):
            return "the ratio " + ":".join(map(_number, terms))
        case NumberRange(low, high):
            return f"from {describe(low)} to {describe(high)}"
        case NumberInterval(low, high, low_closed, high_closed):
            ends = (describe(low) if low else "-∞", describe(high) if high else "∞")
            return f"the interval {'[' if low_closed else '('}{ends[0]}, {ends[1]}{']' if high_closed else ')'}"
        case AnswerList(_, brackets, written):
            kind = "in this order" if brackets in ("()", "[]") else "in any order"
            return f"{len(written)} items {kind}: " + "; ".join(describe(item) for item in written)
        case Named(name, value):
            return f"{name} = {describe(value)}"
        case Expression(text):
            return f"the expression {text}"
        case PlainText(text):
            return f"the words “{text}”"


def _measured(quantity: Quantity) -> str:
    unit = quantity.dimension or "as a share"
    return f"the quantity {_number(quantity.value)} ({unit})"


def _number(value: Number) -> str:
    if isinstance(value, Fraction):
        return str(value) if max(abs(value.numerator), value.denominator) < 10**30 else "of more than 30 digits"
    return " + ".join(
        f"{coefficient}" + (f" π^{power}" if power else "") + (f" √{root}" if root > 1 else "")
        for (power, root), coefficient in value.terms
    )
