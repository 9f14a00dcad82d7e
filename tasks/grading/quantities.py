"""Read exact numbers in their many notations, with units.

A number is an integer, a decimal, a fraction, a mixed number (`7 3/4`, not `73/4`), a power, scientific notation, or
words. A unit of measure after it is converted exactly (see `units`). Any other noun after it is a dimension of its own:
`3 dogs` is neither `3 cats` nor 3 metres.
"""

import re
from fractions import Fraction

from tasks.grading.chinese import leading_chinese
from tasks.grading.constants import Number, Surd, leading_constant
from tasks.grading.forms import Quantity, half_turns
from tasks.grading.units import UNITS, absolute, read_unit
from tasks.grading.words import ARTICLES, CARDINALS, ORDINALS, PARTS, leading_number, plain_word

LONGEST_EXPONENT = 3
"""Digits of the longest exponent that is computed."""
MOST_DIGITS = 4000

_DIGITS = (
    r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,2}(?:,\d{2})+,\d{3}(?!\d)|\d{1,3}(?: \d{3})+(?![\d/])|\d{1,3}(?:['_]\d{3})+|\d+)"
    r"(?:\.\d+)?|\.\d+"
)
"""With thousands separators as in 1,234,567, 12,34,567 (India), 1 234 567, 1'234'567 (Switzerland) or 1_234_567
(programs)."""
_EUROPEAN = re.compile(r"(?<![\d.,])\d{1,3}(?:\.\d{3})+,\d+(?![\d.,])|(?<![\d.,])\d{1,3}(?:\.\d{3}){2,}(?![\d.,])")
"""Points as thousands separators and a decimal comma, if no other reading is possible: not `1.234`, not `1,5`."""
_SIGN = r"[+-]?\s?"
_MIXED = re.compile(rf"({_SIGN})(\d+)(?: and | )\(?(\d+) ?/ ?(\d+)\)?(?![\d.])")
_FRACTION = re.compile(rf"({_SIGN})\(?({_SIGN})({_DIGITS})\)? ?/ ?\(?({_SIGN})({_DIGITS})\)?(?![\d.])")
_SCIENTIFIC = re.compile(rf"({_SIGN})({_DIGITS})(?: ?(?:\*|x) ?10 ?\^ ?\(?([+-]?\d+)\)?|[eE]([+-]?\d+))(?![\d.])")
_POWER = re.compile(rf"({_SIGN})(\d+) ?\^ ?\(?(-?\d+)\)?(?![\d.])")
_REPEATING = re.compile(rf"({_SIGN})(\d*)\.(\d*)(?:\\overline\s*\{{(\d+)\}}|\((\d+)\))")
_PLAIN = re.compile(rf"({_SIGN})({_DIGITS})\.?(?!\d)")
_SCALE = re.compile(
    r"\s*((?i:thousand|million|billion|trillion|dozen|lakh|crore))(?i:s?)\b\s*"
    r"|(k|M|B|(?i:[bmt]n))(?=$|\s)|(K)(?=\s+[^\W\d_])"
)
_SCALE_OF_MONEY = re.compile(r"\s?(?i:([kmb]|[bmt]n|thousand|million|billion|trillion|lakh|crore))(?![^\W_])\s*")
"""`M` is a million, and with a currency `m` too; elsewhere `m` is a metre, and `300K` may be a temperature."""
_SCALES = {
    "thousand": 10**3, "k": 10**3, "million": 10**6, "m": 10**6, "mn": 10**6, "billion": 10**9, "b": 10**9, "bn": 10**9,
    "trillion": 10**12, "tn": 10**12, "dozen": 12, "lakh": 10**5, "crore": 10**7,
}  # fmt: skip
_AND_A_PART = re.compile(r"\s+and\s+(?:a|one)\s+(half|third|quarter)\b", re.IGNORECASE)
_CURRENCY = re.compile(r"([+-]?)\s*((?:US)?\$|[€£¥₹]|(?:USD|EUR|GBP|JPY|CNY|INR)(?=[\s\d]))\s*([+-]?)\s*([\d.].*)")
_ENDS_A_NUMBER = re.compile(r"\s*(?:[\^*/=<>≤≥+:!(√π|±∪,;&]|-\s*[\w(])")
_NOUN = re.compile(r"(?:\s+|-)?([^\W\d_][^\W\d_'.-]*(?:[\s-]+[^\W\d_'.]+){0,2})\.?")
_SEVERAL = re.compile(r"(\d+(?:\.\d+)?)\s*([^\W\d_]+|['\"°])\s*,?\s*(?:and\s+)?")
_BASED = re.compile(rf"({_SIGN})\(?(\d[\dA-F]*)\)?_\(?(\d{{1,2}})\)?(?![\d.])")
_MARKS = {"length": {"'": "ft", '"': "in"}, "angle": {"'": "arcminute", '"': "arcsecond"}}
_ARTICLE = re.compile(r"^\s*(?:of\s+)?(?:an?|the)\s+(?=\S)", re.IGNORECASE)
_COUNTERS = frozenset("个 只 条 张 本 人 块 辆 位 次 件".split())
"""Chinese measure words, which stand between a number and the noun."""
_QUICK = re.compile(r"-?\d{1,15}")
_NUMBER_LIST = frozenset({"and", "or", "of", "to", "plus", "minus", "times", "by", "past", "x", "am", "pm", "oclock"})


def read_number(text: str) -> Fraction | None:
    """The number that the whole text states, without a unit; None for anything else."""
    quantity = read_quantity(text)
    if quantity is None or not quantity.bare or not isinstance(quantity.value, Fraction):
        return None
    return quantity.value


def read_quantity(text: str) -> Quantity | None:
    """The quantity that the whole text states; None if the text has anything besides a number and a unit."""
    if _QUICK.fullmatch(text):
        return _bare(Fraction(int(text)))
    if "." in text and "," not in text[: text.index(".")]:
        text = _EUROPEAN.sub(lambda match: match[0].replace(".", "").replace(",", "."), text)
    currency = _CURRENCY.fullmatch(text)
    if currency is not None:
        return _amount(*currency.groups())
    number = _leading_digits(text) or _leading_words(text)
    if number is None:
        return None if text.isascii() else _chinese(text)
    value, rest = number
    if not rest:
        return _bare(value)
    return _sum_of_units(text) or _with_unit(value, rest)


def read_constant(text: str) -> Quantity | None:
    """A sum of rational multiples of π and of roots, with or without a unit; None for anything else.

    ZeroDivisionError for `1/0`.
    """
    constant = leading_constant(text)
    if constant is None:
        return None
    value, rest = constant
    if not rest.strip():
        return Quantity(value, "", value, True)
    unit = _unit(rest.strip().rstrip("."))
    return None if unit is None or (rest[0] != " " and len(rest) < 3) else _measured(value, unit)


def _bare(value: Fraction) -> Quantity:
    return Quantity(value, "", value, True)


def _measured(value: Number, unit: tuple[Fraction, str]) -> Quantity:
    if unit[1] == "radian" and isinstance(value, Surd):
        degrees = half_turns(value)
        return Quantity(degrees * 180, "angle", value, False, "radian") if degrees else Quantity(value, "radian", value)
    base, dimension = absolute(value * unit[0], unit[1])
    return Quantity(base, dimension, value, False, unit[1])


def _amount(sign: str, symbol: str, inner: str, digits: str) -> Quantity | None:
    """`$5 million` and `$3.50 per kg`, read as if the currency stood after the number."""
    number = _leading_digits(digits, _SCALE_OF_MONEY)
    if number is None:
        return None
    unit = _unit(f"{'$' if symbol == 'US$' else symbol} {number[1]}".strip())
    return None if unit is None else _measured(number[0] * _sign(sign, inner), unit)


def _chinese(text: str) -> Quantity | None:
    """A Chinese number word, alone or before a unit or a measure word. 三角形 (triangle) is none."""
    percent = text.startswith("百分之") and _leading_digits(text.removeprefix("百分之"))
    if percent and not percent[1]:
        return Quantity(percent[0] / 100, "", percent[0], False)
    number = leading_chinese(text)
    if number is None:
        return None
    value, rest = number
    if not rest:
        return Quantity(value, "", value * 100, False) if text.startswith("百分之") else _bare(value)
    unit = _unit(rest)
    return _measured(value, unit) if unit else _bare(value) if rest in _COUNTERS else None


def _leading_digits(text: str, scales: re.Pattern[str] = _SCALE) -> tuple[Fraction, str] | None:
    """The number in digits at the beginning of a text, times the word or letter of a scale, and the rest."""
    if not text[:1].isdigit() and text[:1] not in ("+", "-", ".", "("):
        return None
    for pattern, read_value in _NOTATIONS:
        match = pattern.match(text)
        if match is not None:
            value = read_value(match)
            if value is None:
                return None
            position = match.end()
            if (part := _AND_A_PART.match(text, position)) is not None:
                value, position = value + Fraction(1, PARTS[part[1].lower()]), part.end()
            if (scale := scales.match(text, position)) is not None:
                word = next(filter(None, scale.groups()))
                value, position = value * _SCALES[word.lower()], scale.end()
            return value, text[position:]
    return None


def _leading_words(text: str) -> tuple[Fraction, str] | None:
    """The number in words at the beginning of a text, and the rest."""
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
    """A number and the unit or noun after it; None if `rest` is neither."""
    unit = _ARTICLE.sub("", rest.strip().rstrip("."))
    if unit in _COUNTERS:
        return _bare(value)
    if rest == "K":
        return Quantity(value, "kelvin", value, False, "kelvin", value * 1000)
    if rest[0] not in " -" and rest[:2].isalpha() and _unit(unit) is None and len(unit) < 3:
        return None  # `2xy` is algebra
    known = _unit(unit)
    if known is not None:
        return _measured(value, known)
    if _ENDS_A_NUMBER.match(rest):
        return None
    noun = _NOUN.fullmatch(_ARTICLE.sub("", rest) if rest[0] == " " else rest)
    if noun is None or (len(noun[1]) < 3 and noun[1] not in UNITS and noun[1].isascii()):
        return None
    words = noun[1].lower().replace("-", " ").split()
    if not _NUMBER_LIST.isdisjoint(words) or words[0] in CARDINALS or words[0] in ORDINALS:
        return None
    if len(noun[1]) <= 3 and not noun[1][1:].islower() and not noun[1].islower():
        return Quantity(value, noun[1], value, False)  # a symbol: MeV is not meV
    kept = [plain_word(word) for word in words if word not in ARTICLES]
    return Quantity(value, " ".join(kept), value, False) if kept else None


def _unit(text: str) -> tuple[Fraction, str] | None:
    return read_unit(text) if text and text[-1] not in "*/^" and text[0] not in "*/^" else None


def _sum_of_units(text: str) -> Quantity | None:
    """`1 h 30 min`, `5 ft 3 in`, `5'3"`: the sum of several quantities of one dimension."""
    parts = _SEVERAL.findall(text)
    if len(parts) < 2 or _SEVERAL.sub("", text):
        return None
    total, dimensions = Fraction(0), set[str]()
    marks = _MARKS["angle" if "°" in text else "length"]
    for number, name in parts:
        unit = read_unit("min" if name == "m" and dimensions == {"time"} else marks.get(name, name))  # `3h30m`
        if unit is None:
            return None
        total += Fraction(number) * unit[0]
        dimensions.add(unit[1])
    return Quantity(total, dimensions.pop(), None, False) if len(dimensions) == 1 else None


_GROUPING = str.maketrans("", "", ", '_")


def _decimal(digits: str) -> Fraction:
    return Fraction(digits.translate(_GROUPING))


def _sign(*signs: str) -> int:
    return -1 if sum("-" in sign for sign in signs) % 2 else 1


def _mixed(match: re.Match[str]) -> Fraction | None:
    if int(match[4]) == 0:
        return None
    return _sign(match[1]) * (int(match[2]) + Fraction(int(match[3]), int(match[4])))


def _quotient(match: re.Match[str]) -> Fraction | None:
    under = _decimal(match[5])
    return _sign(match[1], match[2], match[4]) * _decimal(match[3]) / under if under else None


def _based(match: re.Match[str]) -> Fraction | None:
    """`1011_2`: a number in another base."""
    try:
        return Fraction(_sign(match[1]) * int(match[2], int(match[3])))
    except ValueError:
        return None


def _scientific(match: re.Match[str]) -> Fraction | None:
    power = _power(Fraction(10), match[3] or match[4])
    return None if power is None else _sign(match[1]) * _decimal(match[2]) * power


def _plain_power(match: re.Match[str]) -> Fraction | None:
    power = _power(Fraction(int(match[2])), match[3])
    return None if power is None else _sign(match[1]) * power


def _power(base: Fraction, exponent: str) -> Fraction | None:
    """The power; None if it is undefined or too large to compute."""
    digits = exponent.lstrip("+-")
    if len(digits) > LONGEST_EXPONENT or len(str(base.numerator)) * int(digits) > MOST_DIGITS:
        return None
    if base == 0 and int(exponent) <= 0:
        return None
    return Fraction(base ** int(exponent))


def _repeating(match: re.Match[str]) -> Fraction | None:
    """`0.1\\overline{6}` or `0.1(6)`: the period divided by as many nines, after the digits before it."""
    before, period = match[3], match[4] or match[5]
    tail = Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(before))
    return _sign(match[1]) * (Fraction(f"{match[2] or 0}.{before or 0}") + tail)


def _integer_or_decimal(match: re.Match[str]) -> Fraction | None:
    return _sign(match[1]) * _decimal(match[2])


_NOTATIONS = (
    (_BASED, _based),
    (_REPEATING, _repeating),
    (_MIXED, _mixed),
    (_FRACTION, _quotient),
    (_SCIENTIFIC, _scientific),
    (_POWER, _plain_power),
    (_PLAIN, _integer_or_decimal),
)
