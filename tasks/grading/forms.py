"""The typed canonical forms of an answer, and when two forms are the same answer.

Forms compare by value: two answers with equal forms are the same answer. Two different forms are still *compatible* if
one answer leaves out what the question supplies: `30` and `30°`, `5` and `5 cm`, `3:05` and `3:05 pm`, `x = 5` and `5`,
`B` and `B. cat`, a list without brackets and an ordered or unordered list. What both answers state must agree (`5 cm`
is not `5 mm`). Compatibility is symmetric but not transitive; `vote` takes this into account.

Deliberate choices: a percentage is the number that it denotes (`50%` = 0.5 = 1/2), and its sign may be left out like a
unit (`50%` is compatible with `50`), but 0.5 and 50 are different. Quantities of one dimension compare by value
(`2 days` = `48 h`). A list without brackets is unordered, as in math-verify.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from tasks.grading.constants import Number, Surd

MINUTES_OF_HALF_A_DAY = 720


@dataclass(frozen=True, slots=True)
class Nothing:
    """No answer: empty, `None`, NaN. Equal to no answer, not even to itself."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The letter of an option, with the option's text if it is given."""

    letter: str
    text: Form | None = None


@dataclass(frozen=True, slots=True)
class Truth:
    """Yes or no, true or false."""

    value: bool


@dataclass(frozen=True, slots=True)
class Quantity:
    """An exact number in base units.

    `stated` is the number as written; `unit` is the dimension as written (`celsius` where `dimension` is `kelvin`);
    `bare` means that no unit was written.
    """

    value: Number
    dimension: str = ""
    stated: Number | None = field(default=None, compare=False)
    bare: bool = field(default=True, compare=False)
    unit: str = field(default="", compare=False)
    scaled: Number | None = field(default=None, compare=False)
    """The number if the letter after it is no unit: `300K` is 300 kelvin or 300 000."""


@dataclass(frozen=True, slots=True)
class TimeOfDay:
    """A time of day in seconds. `certain`: the half of the day is known.

    A time without am or pm is on a twelve-hour dial, unless `whole_day`: `15:00` is on a 24-hour dial, on which the
    other half would be written 03:00, not 3:00.
    """

    seconds: int
    certain: bool
    whole_day: bool = field(default=False, compare=False)
    ratio: Ratio | None = field(default=None, compare=False)
    """What `12:16` is beside another ratio."""


@dataclass(frozen=True, slots=True)
class Date:
    """A day, a month of a year, or a day of an unknown year."""

    year: int | None
    month: int
    day: int | None


@dataclass(frozen=True, slots=True)
class Ratio:
    """a : b : ..., in lowest terms."""

    terms: tuple[Fraction, ...]


@dataclass(frozen=True, slots=True)
class NumberRange:
    """A range from one number to another, as in `10-15`."""

    low: Form
    high: Form


@dataclass(frozen=True, slots=True)
class NumberInterval:
    """All numbers between two ends; None is infinity. `variable`: what lies between them, if the text says so."""

    low: Form | None
    high: Form | None
    low_closed: bool
    high_closed: bool
    variable: str = ""


Brackets = Literal["()", "[]", "{}", ""]


@dataclass(frozen=True, slots=True)
class AnswerList:
    """Several answers: ordered in () and [], unordered in {} and without brackets.

    `items` of unordered lists are sorted; `written` has the order of the text.
    """

    items: tuple[Form, ...]
    brackets: Brackets
    written: tuple[Form, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Named:
    """A named value: `x = 5`."""

    name: str
    value: Form


@dataclass(frozen=True, slots=True)
class Expression:
    """A symbolic answer that only algebra can compare. `relation`: it states an equation or inequality."""

    text: str
    relation: bool = False
    unit: str = ""
    """Dimension of the unit of measure after it; empty without one."""


@dataclass(frozen=True, slots=True)
class PlainText:
    """Words, normalized: lower case, singular, without articles and punctuation."""

    text: str


Form = (
    Nothing
    | Choice
    | Truth
    | Quantity
    | TimeOfDay
    | Date
    | Ratio
    | NumberRange
    | NumberInterval
    | AnswerList
    | Named
    | Expression
    | PlainText
)

_SHORT_FOR = {
    frozenset({"angle", "celsius"}), frozenset({"angle", "fahrenheit"}), frozenset({"pound", "£"}),
    frozenset({"pound", "mass"}), frozenset({"yuan", "¥"}), frozenset({"current*time", "celsius"}),
    frozenset({"current^2*time^4/length^2*mass", "fahrenheit"}),
}  # fmt: skip
"""Units of which one may be written instead of the other: `30 degrees` or `30 C` for 30 °C, `72 F` for 72 °F,
`5 pounds` for £5 or 5 lb."""
_POUND = Fraction(45359237, 100000)
LEAST_PLACES, MOST_PLACES = 6, 12
"""A decimal with 6 to 12 places and at least 6 significant digits equals every number that rounds to it: 0.333333 is
1/3, 0.33 is not. math-verify rounds to 6 places too."""


def collection(items: tuple[Form, ...], brackets: Brackets) -> AnswerList:
    """A list with its items sorted if they are unordered, and distinct if it is a set."""
    if brackets in ("()", "[]"):
        return AnswerList(items, brackets, items)
    ordered = tuple(sorted(set(items) if brackets == "{}" else items, key=repr))
    return AnswerList(ordered, brackets, items)


def compatible(a: Form, b: Form) -> bool | None:
    """Whether two forms can be the same answer; None if only algebra can decide."""
    match a, b:
        case (Nothing(), _) | (_, Nothing()):
            return False
        case (Named(), Named()):
            return a.name == b.name and compatible(a.value, b.value)
        case (Named(_, Expression() | Quantity()), Expression(relation=True)) | (
            Expression(relation=True),
            Named(_, Expression() | Quantity()),
        ):
            return None
        case (Named(_, value), other) | (other, Named(_, value)):
            return compatible(value, other)
        case (Choice(), Choice()):
            return a.letter == b.letter and (a.text is None or b.text is None or compatible(a.text, b.text))
        case (Choice(_, text), other) | (other, Choice(_, text)):
            return text is not None and compatible(text, other)
        case (Quantity(), Quantity()):
            return _compatible_quantities(a, b)
        case (TimeOfDay(), TimeOfDay()):
            dial = (a.seconds - b.seconds) % (MINUTES_OF_HALF_A_DAY * 60) == 0
            return a == b or (dial and not (a.certain and b.certain) and not (a.whole_day or b.whole_day))
        case (TimeOfDay(ratio=Ratio() as ratio), Ratio() | Quantity() as other) | (
            Ratio() | Quantity() as other,
            TimeOfDay(ratio=Ratio() as ratio),
        ):
            return compatible(ratio, other)
        case (Ratio(terms), Quantity() as number) | (Quantity() as number, Ratio(terms)):
            return number.bare and len(terms) == 2 and terms[1] != 0 and terms[0] / terms[1] == number.value
        case (Ratio((one, *more)), NumberRange(Quantity() as low, Quantity() as high)) | (
            NumberRange(Quantity() as low, Quantity() as high),
            Ratio((one, *more)),
        ):
            return len(more) == 1 and low.bare and high.bare and _times(low.value, more[0]) == _times(high.value, one)
        case (AnswerList(), AnswerList()):
            return _compatible_lists(a, b)
        case (NumberInterval() as interval, AnswerList() as pair) | (
            AnswerList() as pair,
            NumberInterval() as interval,
        ):
            return _is_the_interval(pair, interval)
        case (NumberInterval(), NumberInterval()):
            return _compatible_intervals(a, b)
        case (Expression(), Expression()):
            return True if a == b else None if _may_be_equal(a, b) else False
        case (Expression() as one_side, other) | (other, Expression() as one_side):
            return None if not one_side.relation and isinstance(other, Quantity | AnswerList) else False
        case _:
            return a == b


def _may_be_equal(a: Expression, b: Expression) -> bool:
    return a.relation == b.relation and (a.unit == b.unit or not (a.unit and b.unit))


def _compatible_quantities(a: Quantity, b: Quantity) -> bool:
    if a.dimension == b.dimension:
        return a.value == b.value or _one_rounds_to_the_other(a.value, b.value) or _same_as_stated(a, b)
    if (a.scaled or b.scaled) and not (a.dimension and b.dimension):
        return (a.scaled or a.value) == (b.scaled or b.value) or _same_as_stated(a, b)
    if a.bare or b.bare:
        return _same_as_stated(a, b) or _half_turns(a) == _half_turns(b) is not None
    if frozenset({a.unit, b.unit}) == {"pound", "mass"}:
        return _grams(a) == _grams(b)
    return a.stated == b.stated and frozenset({a.unit, b.unit}) in _SHORT_FOR


def _same_as_stated(a: Quantity, b: Quantity) -> bool:
    if not (a.bare or b.bare) or a.stated is None or b.stated is None:
        return False
    return a.stated == b.stated or _one_rounds_to_the_other(a.stated, b.stated)


def _half_turns(quantity: Quantity) -> Fraction | None:
    """An angle in half turns: 1 for 180°, and for the number π, the same angle in radians."""
    if quantity.dimension == "angle" and isinstance(quantity.value, Fraction):
        return quantity.value / 180
    return half_turns(quantity.value) if quantity.bare and isinstance(quantity.value, Surd) else None


def half_turns(value: Surd) -> Fraction | None:
    """The rational multiple of π that the value is; None if it is none."""
    ((basis, times), *more) = value.terms
    return times if basis == (1, 1) and not more else None


def _grams(quantity: Quantity) -> Number:
    return quantity.value * _POUND if quantity.dimension == "pound" else quantity.value


def _one_rounds_to_the_other(a: Number, b: Number) -> bool:
    return _rounds_to(a, b) or _rounds_to(b, a)


def _rounds_to(number: Number, decimal: Number) -> bool:
    if not isinstance(decimal, Fraction) or decimal.denominator < 2**LEAST_PLACES:
        return False
    exact = number if isinstance(number, Fraction) else number.approximately()
    if abs(exact - decimal) > Fraction(1, 10**LEAST_PLACES):
        return False
    places = next((places for places in range(MOST_PLACES + 1) if 10**places % decimal.denominator == 0), 0)
    significant = abs(decimal) * 10**places >= 10 ** (LEAST_PLACES - 1)
    return places >= LEAST_PLACES and significant and round(exact, places) == decimal


def _times(a: Number, b: Fraction) -> Number:
    return a * b if b else Fraction(0)


def _compatible_lists(a: AnswerList, b: AnswerList) -> bool | None:
    if a == b:
        return True
    if b.brackets != "{}" and not _is_nested(b) and (one := _column(a, b.brackets or "()")) is not None:
        return compatible(one, b)
    if a.brackets != "{}" and not _is_nested(a) and (other := _column(b, a.brackets or "()")) is not None:
        return compatible(a, other)
    if a.brackets and b.brackets and a.brackets != b.brackets:
        return False
    if len(a.items) != len(b.items):
        return None if any(isinstance(item, Expression) for item in a.items + b.items) else False
    if {"()", "[]"} & {a.brackets, b.brackets}:
        return _all(compatible(x, y) for x, y in zip(_in_order(a), _in_order(b), strict=True))
    return _matched(list(a.items), list(b.items))


def _in_order(answers: AnswerList) -> tuple[Form, ...]:
    """The items as they stand in a tuple. Coordinates stand in the order of their names: `y = 2, x = 1` is (1, 2)."""
    names = {item.name for item in answers.written if isinstance(item, Named)}
    if answers.brackets or len(names) < len(answers.written):
        return answers.written
    return tuple(sorted(answers.written, key=lambda item: item.name if isinstance(item, Named) else ""))


def _is_nested(answers: AnswerList) -> bool:
    return any(isinstance(item, AnswerList) for item in answers.items)


def _column(matrix: AnswerList, brackets: Brackets) -> AnswerList | None:
    """A matrix of one column as the vector that it is; None for anything else. A row stays a matrix."""
    rows = [item.items for item in matrix.written if isinstance(item, AnswerList) and len(item.items) == 1]
    if len(rows) < len(matrix.written):
        return None
    vector = tuple(row[0] for row in rows)
    return AnswerList(vector, brackets, vector)


def _matched(left: list[Form], right: list[Form]) -> bool | None:
    """Whether the items can be paired: first with an equal item, then with the first compatible one."""
    rest = list(right)
    unmatched = []
    for item in left:
        if item in rest:
            rest.remove(item)
        else:
            unmatched.append(item)
    undecided = False
    for item in unmatched:
        results = [compatible(item, other) for other in rest]
        if True in results:
            rest.pop(results.index(True))
        elif None in results:
            undecided = True
        else:
            return False
    return None if undecided else True


def _all(decisions: Iterator[bool | None]) -> bool | None:
    results = list(decisions)
    return False if False in results else None if None in results else True


def _compatible_intervals(a: NumberInterval, b: NumberInterval) -> bool | None:
    if (a.low_closed, a.high_closed) != (b.low_closed, b.high_closed):
        return False
    if a.variable and b.variable and a.variable != b.variable:
        return False
    return _all(_compatible_ends(x, y) for x, y in ((a.low, b.low), (a.high, b.high)))


def _compatible_ends(a: Form | None, b: Form | None) -> bool | None:
    return a is b if a is None or b is None else compatible(a, b)


def _is_the_interval(pair: AnswerList, interval: NumberInterval) -> bool | None:
    """Whether `(1, 2)` is the interval, if it is read as an open interval."""
    if pair.brackets not in ("()", "[]") or len(pair.written) != 2:
        return False
    closed = pair.brackets == "[]"
    return _compatible_intervals(NumberInterval(*pair.written, low_closed=closed, high_closed=closed), interval)
