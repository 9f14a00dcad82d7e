"""Units of measure: exact factors to the base unit of each dimension, and compound units."""

import re
from fractions import Fraction
from functools import lru_cache

from tasks.grading.constants import Number
from tasks.grading.words import singular

_TABLE: dict[str, dict[str, str]] = {
    "length": {
        "m meter metre 米": "1", "cm 厘米": "1/100", "mm 毫米": "1/1000", "dm 分米": "1/10", "km 千米 公里": "1000",
        "um micron": "1/1000000", "in inch": "254/10000", "ft foot feet": "3048/10000", "yd yard": "9144/10000",
        "mi mile": "1609344/1000", "Å angstrom": "1/10000000000",
    },
    "mass": {
        "g gram gramme 克": "1", "kg kilo 千克 公斤": "1000", "mg 毫克": "1/1000", "ug": "1/1000000",
        "t tonne 吨": "1000000", "lb lbs": "45359237/100000", "oz ounce": "45359237/1600000",
    },
    "pound": {"pound": "1"},
    "time": {
        "s sec second 秒": "1", "us": "1/1000000", "min minute mins 分钟": "60", "h hr hrs hour 小时": "3600",
        "day 天": "86400", "week wk 周": "604800",
    },
    "months": {"month 个月": "1", "yr year 年": "12", "decade": "120", "century centuries": "1200"},
    "length^3": {"l L liter litre 升": "1/1000", "ml 毫升": "1/1000000", "cc": "1/1000000"},
    "length^2": {"ha hectare": "10000"},
    "length/time": {"mph": "1609344/3600000", "kph kmh kmph": "1000/3600"},
    "angle": {"° deg degree 度": "1", "arcminute": "1/60", "arcsecond": "1/3600"},
    "radian": {"rad radian 弧度": "1"},
    "celsius": {"°c celsius 摄氏度": "1"},
    "fahrenheit": {"°f fahrenheit": "1"},
    "kelvin": {"K kelvin": "1"},
    "": {"% percent percentage": "1/100"},
    "$": {"$ usd dollar buck 美元": "1", "cent ¢": "1/100"},
    "€": {"€ eur euro": "1"},
    "£": {"£ gbp": "1"},
    "¥": {"¥ yen jpy": "1"},
    "yuan": {"yuan cny rmb 元": "1"},
    "₹": {"₹ inr rupee": "1"},
    "frequency": {"Hz hertz": "1"},
    "length*mass/time^2": {"N newton": "1000"},
    "length^2*mass/time^2": {
        "J joule": "1000", "Wh": "3600000", "cal calorie": "4184",
        "eV electronvolt": "1602176634/10000000000000000000000000",
    },
    "length^2*mass/time^3": {"W watt": "1000"},
    "current": {"A amp ampere": "1"},
    "current*time": {"C coulomb": "1", "mAh": "36/10"},
    "length^2*mass/current*time^3": {"V volt": "1000"},
    "length^2*mass/current^2*time^3": {"Ω ohm": "1000"},
    "current^2*time^4/length^2*mass": {"F farad": "1/1000"},
    "length^2*mass/current^2*time^2": {"H henry": "1000"},
    "mass/current*time^2": {"T tesla": "1000"},
    "length^2*mass/current*time^2": {"Wb weber": "1000"},
    "mass/length*time^2": {
        "Pa pascal": "1000", "bar": "100000000", "atm atmosphere": "101325000", "mmHg": "133322387415/1000000",
    },
    "amount": {"mol mole": "1"},
    "amount/length^3": {"M": "1000", "mM": "1", "μM": "1/1000", "nM": "1/1000000"},
    "data": {
        "byte": "1", "KB kB": "1000", "MB": "1000000", "GB": "1000000000", "TB": "1000000000000", "bit": "1/8",
        "KiB": "1024", "MiB": "1048576", "GiB": "1073741824",
    },
    "pixel": {"px pixel": "1"},
}  # fmt: skip
"""Unit names and factors by dimension, without the prefixed ones except where they are written in more ways. The base
unit of mass is the gram, so a newton is 1000 g m/s². A pound is money or mass, so it has a dimension of its own (see
`forms`)."""

_PREFIXED_NAMES = (
    "meter metre gram gramme second liter litre hertz newton joule calorie watt amp ampere coulomb volt ohm farad "
    "henry tesla weber pascal mole byte bit electronvolt"
).split()
_PREFIXED_SYMBOLS = "m g s l L Hz N J W Wh cal eV A C V Ω F H T Wb Pa mol".split()
_PREFIXES = {
    "pico p": -12, "nano n": -9, "micro μ": -6, "milli m": -3, "centi c": -2, "deci d": -1, "hecto h": 2, "kilo k": 3,
    "mega M": 6, "giga G": 9, "tera T": 12,
}  # fmt: skip
_OTHER_WORDS = frozenset({"pm", "cd", "ds", "cs", "hs", "dA", "cA", "hA", "TV"})
"""Prefix and symbol that are read as something else: `3 pm` is a time, and `2 TV` are no teravolts."""

_ABSOLUTE = {
    "celsius": (Fraction(1), Fraction(27315, 100)),
    "fahrenheit": (Fraction(5, 9), Fraction(45967, 100) * 5 / 9),
}
"""Factor and offset that convert a temperature to kelvin. Not used in compounds: °C/min is a difference."""


def _with_prefixes(units: dict[str, tuple[Fraction, str]]) -> dict[str, tuple[Fraction, str]]:
    """The units with the prefixed names (kilovolt) and symbols (kV) of those that take SI prefixes.

    pint has these and more, but it reads any word as a unit: `cats` as hundredths of a technical atmosphere.
    """
    prefixed = {}
    for prefix, power in _PREFIXES.items():
        long, short = prefix.split()
        names = [(long + name, name) for name in _PREFIXED_NAMES]
        names += [(short + name, name) for name in _PREFIXED_SYMBOLS if short + name not in _OTHER_WORDS]
        prefixed.update({name: (units[base][0] * Fraction(10) ** power, units[base][1]) for name, base in names})
    return prefixed | units


UNITS = _with_prefixes(
    {
        name: (Fraction(factor), dimension)
        for dimension, group in _TABLE.items()
        for names, factor in group.items()
        for name in names.split()
    }
)
_NAME = r"[^\W\d_]+|[°%$€£¥₹¢]"
_FACTOR = re.compile(rf"(°[CFcf](?![a-z])|{_NAME})(?:\s*\^\s*\(?(-?[1-4])\)?|\s*([23])(?!\d))?")
_POWER_WORDS = {"square": 2, "sq": 2, "squared": 2, "平方": 2, "cubic": 3, "cu": 3, "cubed": 3, "立方": 3}
_POWER_BEHIND = re.compile(r"\s+(squared|cubed)\b")
_POWER_FIRST = frozenset({"square", "sq", "cubic", "cu", "平方", "立方"})
_SYNONYMS = [
    (re.compile(r"\bdegrees?\s+(?=celsius|fahrenheit|c\b|f\b)", re.IGNORECASE), "°"),
    (re.compile(r"\bdegs?\.?\s+(?=c\b|f\b)", re.IGNORECASE), "°"),
    (re.compile(r"°\s*(celsius|fahrenheit)", re.IGNORECASE), r"\1"),
    (re.compile(r"°\s+(?=[CF]\b)"), "°"),
    (re.compile(r"(?:^|\s+)per\s*cent\b", re.IGNORECASE), "%"),
    (re.compile(r"(?:^|\s+)per\s+|\s*(?<=[$€£¥₹])/"), "/"),
    (re.compile(r"\bms(?=\s*\^\s*\(?-)"), "m s"),
    (re.compile(r"(?<=平方)(?=\w)|(?<=立方)(?=\w)"), " "),
    (re.compile(r"^(years?|months?|weeks?|days?) old$"), r"\1"),
    (re.compile(r"\b(?:us|u\.s\.)\s+dollars?\b", re.IGNORECASE), "dollar"),
]


@lru_cache(maxsize=4096)
def read_unit(text: str) -> tuple[Fraction, str] | None:
    """Factor to base units, and dimension, of `cm`, `km/h`, `square feet`, `m^2` ...; None if a part is unknown."""
    for pattern, replacement in _SYNONYMS:
        text = pattern.sub(replacement, text)
    factor, powers, sign, power_word = Fraction(1), dict[str, int](), 1, 1
    position = 0
    while position < len(text):
        if text[position] in " .*·/()":
            sign = -1 if text[position] == "/" else sign
            position += 1
            continue
        part = _FACTOR.match(text, position)
        if part is None:
            return None
        position = part.end()
        if part[1].lower() in _POWER_FIRST:
            power_word = _POWER_WORDS[part[1].lower()]
            continue
        unit = _unit(part[1])
        if unit is None:
            return None
        after = _POWER_BEHIND.match(text, position)
        if after:
            power_word, position = _POWER_WORDS[after[1]], after.end()
        power = sign * int(part[2] or part[3] or 1) * power_word
        power_word = 1
        factor *= unit[0] ** power
        for base, exponent in _bases(unit[1]):
            powers[base] = powers.get(base, 0) + exponent * power
    if len(powers) > 1 and "celsius" in powers:
        powers["kelvin"] = powers.pop("celsius") + powers.get("kelvin", 0)  # J/(g °C) is about a difference
    return factor, _dimension(powers)


def absolute(value: Number, dimension: str) -> tuple[Number, str]:
    """A temperature converted to kelvin; any other quantity unchanged."""
    if dimension not in _ABSOLUTE or not isinstance(value, Fraction):
        return value, dimension
    factor, offset = _ABSOLUTE[dimension]
    return value * factor + offset, "kelvin"


def _unit(name: str) -> tuple[Fraction, str] | None:
    """Look up a symbol by case (mW, MW), then a word in any usual case, singular or plural: `mG` is no `mg`."""
    lower = name.lower()
    if name not in (lower, name.upper(), name.capitalize()):
        return UNITS.get(name)
    return UNITS.get(name) or (UNITS.get(lower) or UNITS.get(singular(lower)) if len(lower) > 1 else None)


def _bases(dimension: str) -> list[tuple[str, int]]:
    """Base dimensions and their powers: `length^2/time` is length^2 and time^-1."""
    if not dimension:
        return []
    over, _, under = dimension.partition("/")
    parts = [(part, 1) for part in over.split("*")] + [(part, -1) for part in under.split("*")]
    split = [(*part.partition("^"), sign) for part, sign in parts if part]
    return [(base, sign * int(power or 1)) for base, _, power, sign in split]


def _dimension(powers: dict[str, int]) -> str:
    """The name of a dimension: the inverse of `_bases`."""
    parts = sorted((base, power) for base, power in powers.items() if power)
    over = "*".join(base + (f"^{power}" if power > 1 else "") for base, power in parts if power > 0)
    under = "*".join(base + (f"^{-power}" if power < -1 else "") for base, power in parts if power < 0)
    return over + (f"/{under}" if under else "")
