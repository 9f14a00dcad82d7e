"""Exact numbers in their many notations, with units.

A number is an integer, a decimal, a fraction, a mixed number (`7 3/4`, apart from `73/4`), a power, scientific
notation, or words. What follows it is a unit: one of measure (see `units`), converted exactly, or else the noun that
was counted, which is a dimension of its own (`3 dogs` is neither `3 cats` nor 3 metres).
"""

import re
from fractions import Fraction

from tasks.grading.forms import Quantity
from tasks.grading.units import UNITS, read_unit
from tasks.grading.words import ARTICLES, leading_number, plain_word

LONGEST_EXPONENT = 3
"""Digits of an exponent that is worked out; longer ones are left alone."""
MOST_DIGITS = 4000

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,3}(?: \d{3})+(?![\d/])|\d+)(?:\.\d+)?|\.\d+"
_SIGN = r"[+-]?\s?"
_MIXED = re.compile(rf"({_SIGN})(\d+)(?: and | )\(?(\d+) ?/ ?(\d+)\)?(?![\d.])")
_FRACTION = re.compile(rf"({_SIGN})\(?({_SIGN})({_DIGITS})\)? ?/ ?\(?({_SIGN})({_DIGITS})\)?(?![\d.])")
_SCIENTIFIC = re.compile(rf"({_SIGN})({_DIGITS})(?: ?(?:\*|x) ?10 ?\^ ?\(?([+-]?\d+)\)?|[eE]([+-]?\d+))(?![\d.])")
_POWER = re.compile(rf"({_SIGN})(\d+) ?\^ ?\(?(-?\d+)\)?(?![\d.])")
_PLAIN = re.compile(rf"({_SIGN})({_DIGITS})\.?(?!\d)")
_SCALE = re.compile(r"\s*(thousand|million|billion|trillion|dozen)s?\b\s*|k\b", re.IGNORECASE)
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
_CURRENCY = re.compile(r"([+-]?)\s*((?:US)?\$|[€£¥₹])\s*([+-]?\s*[\d.].*)")
_ENDS_A_NUMBER = re.compile(r"\s*(?:[\^*/=<>≤≥+:!(√π|±∪,;&]|-\s*[\w(])")
_NOUN = re.compile(r"(?:\s+|-)?([^\W\d_][^\W\d_'.-]*(?:[\s-]+[^\W\d_'.]+){0,2})\.?")
_SEVERAL = re.compile(r"(\d+(?:\.\d+)?)\s*([^\W\d_]+|['\"°])\s*,?\s*(?:and\s+)?")
_QUICK = re.compile(r"-?\d{1,15}")
_NUMBER_LIST = frozenset({"and", "or", "of", "to", "plus", "minus", "times", "by", "past", "x", "am", "pm", "oclock"})


def read_number(text: str) -> Fraction | None:
    """The number that the whole text is, without a unit."""
    quantity = read_quantity(text)
    return quantity.value if quantity is not None and quantity.bare else None


def read_quantity(text: str) -> Quantity | None:
    """The text as a number with or without a unit; None if anything else stands in it."""
    if _QUICK.fullmatch(text):
        return _bare(Fraction(int(text)))
    currency = _CURRENCY.fullmatch(text)
    if currency is not None:
        amount = read_quantity(currency[1] + currency[3].replace(" ", "", 1))
        sign = currency[2][-1]
        return None if amount is None or not amount.bare else Quantity(amount.value, sign, amount.value, False)
    number = _leading_digits(text) or _leading_words(text)
    if number is None:
        return None
    value, rest = number
    if not rest:
        return _bare(value)
    return _sum_of_units(text) or _with_unit(value, rest)


def _bare(value: Fraction) -> Quantity:
    return Quantity(value, "", value, True)


def _leading_digits(text: str) -> tuple[Fraction, str] | None:
    if not text[:1].isdigit() and text[:1] not in ("+", "-", ".", "("):
        return None
    for pattern, value_of in _NOTATIONS:
        found = pattern.match(text)
        if found is not None:
            value = value_of(found)
            if value is None:
                return None
            scale = _SCALE.match(text, found.end())
            if scale is None:
                return value, text[found.end() :]
            return value * _SCALES.get((scale[1] or "thousand").lower(), 1000), text[scale.end() :]
    return None


def _leading_words(text: str) -> tuple[Fraction, str] | None:
    if not text[:1].isalpha():
        return None
    words = text.replace("-", " ").split()
    number = leading_number([word.lower() for word in words])
    if number is not None:
        return number[0], " ".join(words[number[1] :])
    if words[0].lower() in ("minus", "negative") and len(words) > 1:
        digits = _leading_digits(" ".join(words[1:]))
        return None if digits is None else (-digits[0], digits[1])
    return None


def _with_unit(value: Fraction, rest: str) -> Quantity | None:
    """A number and what follows it."""
    unit = rest.strip().rstrip(".")
    if rest[0] not in " -" and rest[:2].isalpha() and _unit(unit) is None and len(unit) < 3:
        return None  # `2xy` is algebra
    known = _unit(unit)
    if known is not None:
        return Quantity(value * known[0], known[1], value, False)
    if _ENDS_A_NUMBER.match(rest):
        return None
    noun = _NOUN.fullmatch(rest)
    if noun is None or (len(noun[1]) < 3 and noun[1] not in UNITS):
        return None
    words = noun[1].lower().replace("-", " ").split()
    if _NUMBER_LIST & set(words):
        return None
    kept = [plain_word(word) for word in words if word not in ARTICLES]
    return Quantity(value, " ".join(kept), value, False) if kept else None


def _unit(text: str) -> tuple[Fraction, str] | None:
    return read_unit(text) if text and text[-1] not in "*/^" and text[0] not in "*/^" else None


def _sum_of_units(text: str) -> Quantity | None:
    """`1 h 30 min`, `5 ft 3 in`, `5'3"`: several quantities of one dimension."""
    parts = _SEVERAL.findall(text)
    if len(parts) < 2 or _SEVERAL.sub("", text):
        return None
    total, dimensions = Fraction(0), set()
    for number, name in parts:
        unit = read_unit({"'": "ft", '"': "in"}.get(name, name))
        if unit is None:
            return None
        total += Fraction(number) * unit[0]
        dimensions.add(unit[1])
    return Quantity(total, dimensions.pop(), None, False) if len(dimensions) == 1 else None


def _decimal(digits: str) -> Fraction:
    return Fraction(digits.replace(",", "").replace(" ", ""))


def _sign(*signs: str) -> int:
    return -1 if sum("-" in sign for sign in signs) % 2 else 1


def _mixed(found: re.Match[str]) -> Fraction | None:
    if int(found[4]) == 0:
        return None
    return _sign(found[1]) * (int(found[2]) + Fraction(int(found[3]), int(found[4])))


def _quotient(found: re.Match[str]) -> Fraction | None:
    under = _decimal(found[5])
    return _sign(found[1], found[2], found[4]) * _decimal(found[3]) / under if under else None


def _scientific(found: re.Match[str]) -> Fraction | None:
    power = _power(Fraction(10), found[3] or found[4])
    return None if power is None else _sign(found[1]) * _decimal(found[2]) * power


def _plain_power(found: re.Match[str]) -> Fraction | None:
    power = _power(Fraction(int(found[2])), found[3])
    return None if power is None else _sign(found[1]) * power


def _power(base: Fraction, exponent: str) -> Fraction | None:
    digits = exponent.lstrip("+-")
    if len(digits) > LONGEST_EXPONENT or len(str(base.numerator)) * int(digits) > MOST_DIGITS:
        return None
    if base == 0 and exponent.startswith("-"):
        return None
    return Fraction(base ** int(exponent))


def _integer_or_decimal(found: re.Match[str]) -> Fraction | None:
    return _sign(found[1]) * _decimal(found[2])


_NOTATIONS = (
    (_MIXED, _mixed),
    (_FRACTION, _quotient),
    (_SCIENTIFIC, _scientific),
    (_POWER, _plain_power),
    (_PLAIN, _integer_or_decimal),
)
