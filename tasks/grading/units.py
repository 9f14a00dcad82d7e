"""Units of measure: exact factors to a base unit of each dimension, and compounds of them."""

import re
from fractions import Fraction
from functools import lru_cache

from tasks.grading.words import singular

_TABLE: dict[str, dict[str, str]] = {
    "length": {
        "m meter metre": "1", "cm centimeter centimetre": "1/100", "mm millimeter millimetre": "1/1000",
        "dm decimeter decimetre": "1/10", "km kilometer kilometre": "1000", "nm nanometer nanometre": "1/1000000000",
        "μm um micrometer micrometre micron": "1/1000000", "in inch": "254/10000", "ft foot feet": "3048/10000",
        "yd yard": "9144/10000", "mi mile": "1609344/1000",
    },
    "mass": {
        "g gram gramme": "1", "kg kilogram kilo": "1000", "mg milligram": "1/1000", "t tonne": "1000000",
        "lb lbs pound": "45359237/100000", "oz ounce": "45359237/1600000",
    },
    "time": {
        "s sec second": "1", "ms millisecond": "1/1000", "min minute mins": "60", "h hr hrs hour": "3600",
        "day": "86400", "week wk": "604800",
    },
    "months": {"month": "1", "yr year": "12", "decade": "120", "century centuries": "1200"},
    "length^3": {
        "l L liter litre": "1/1000", "ml mL milliliter millilitre": "1/1000000", "cl centiliter": "1/100000",
        "cc": "1/1000000",
    },
    "length^2": {"ha hectare": "10000"},
    "length/time": {"mph": "1609344/3600000", "kph kmh": "1000/3600"},
    "angle": {"° deg degree": "1"},
    "radian": {"rad radian": "1"},
    "celsius": {"°c celsius": "1"},
    "fahrenheit": {"°f fahrenheit": "1"},
    "kelvin": {"K kelvin": "1"},
    "": {"% percent percentage": "1/100"},
    "$": {"$ usd dollar buck": "1", "cent ¢": "1/100"},
    "€": {"€ eur euro": "1"},
    "£": {"£ gbp": "1"},
    "¥": {"¥ yen jpy": "1"},
    "₹": {"₹ inr rupee": "1"},
    "frequency": {"Hz hertz": "1", "kHz kilohertz": "1000", "MHz megahertz": "1000000", "GHz": "1000000000"},
    "force": {"N newton": "1", "kN": "1000"},
    "energy": {"J joule": "1", "kJ": "1000", "kWh": "3600000", "cal calorie": "4184/1000", "kcal": "4184"},
    "power": {"W watt": "1", "kW kilowatt": "1000", "MW megawatt": "1000000", "mW milliwatt": "1/1000"},
    "voltage": {"V volt": "1", "kV": "1000", "mV": "1/1000"},
    "current": {"A amp ampere": "1", "mA": "1/1000"},
    "resistance": {"Ω ohm": "1", "kΩ": "1000"},
    "pressure": {"Pa pascal": "1", "kPa": "1000", "bar": "100000", "atm": "101325"},
    "data": {"byte": "1", "KB": "1000", "MB": "1000000", "GB": "1000000000", "TB": "1000000000000"},
    "pixel": {"px pixel": "1"},
}  # fmt: skip

UNITS = {
    name: (Fraction(factor), dimension)
    for dimension, group in _TABLE.items()
    for names, factor in group.items()
    for name in names.split()
}
_NAME = r"[^\W\d_]+|[°%$€£¥₹¢]"
_FACTOR = re.compile(rf"(°[CFcf](?![a-z])|{_NAME})(?:\s*\^\s*\(?(-?[1-4])\)?|\s*([23])(?!\d))?")
_POWER_WORDS = {"square": 2, "sq": 2, "squared": 2, "cubic": 3, "cu": 3, "cubed": 3}
_SYNONYMS = [
    (re.compile(r"\bdegrees?\s+(?=celsius|fahrenheit|c\b|f\b)", re.IGNORECASE), "°"),
    (re.compile(r"\bdegs?\.?\s+(?=c\b|f\b)", re.IGNORECASE), "°"),
    (re.compile(r"°\s*(celsius|fahrenheit)", re.IGNORECASE), r"\1"),
    (re.compile(r"°\s+(?=[CF]\b)"), "°"),
    (re.compile(r"\s+per\s+"), "/"),
    (re.compile(r"\b(?:us|u\.s\.)\s+dollars?\b", re.IGNORECASE), "dollar"),
]


@lru_cache(maxsize=4096)
def read_unit(text: str) -> tuple[Fraction, str] | None:
    """Factor to base units and dimension of `cm`, `km/h`, `square feet`, `m^2` ...; None if a part is unknown."""
    for pattern, replacement in _SYNONYMS:
        text = pattern.sub(replacement, text)
    factor, powers, sign, power_word = Fraction(1), dict[str, int](), 1, 1
    position = 0
    while position < len(text):
        if text[position] in " .*·/":
            sign = -1 if text[position] == "/" else sign
            position += 1
            continue
        part = _FACTOR.match(text, position)
        if part is None:
            return None
        position = part.end()
        if part[1].lower() in ("square", "sq", "cubic", "cu"):
            power_word = _POWER_WORDS[part[1].lower()]
            continue
        unit = _unit(part[1])
        if unit is None:
            return None
        after = re.compile(r"\s+(squared|cubed)\b").match(text, position)
        if after:
            power_word, position = _POWER_WORDS[after[1]], after.end()
        power = sign * int(part[2] or part[3] or 1) * power_word
        power_word = 1
        factor *= unit[0] ** power
        for base, exponent in _bases(unit[1]):
            powers[base] = powers.get(base, 0) + exponent * power
    return factor, _dimension(powers)


def _unit(name: str) -> tuple[Fraction, str] | None:
    """Symbols by case (mW, MW), then whole words in any case and number."""
    lower = name.lower()
    return UNITS.get(name) or (UNITS.get(lower) or UNITS.get(singular(lower)) if len(lower) > 1 else None)


def _bases(dimension: str) -> list[tuple[str, int]]:
    if not dimension:
        return []
    over, _, under = dimension.partition("/")
    bases = []
    for part, sign in ((over, 1), (under, -1)):
        base, _, power = part.partition("^")
        if base:
            bases.append((base, sign * int(power or 1)))
    return bases


def _dimension(powers: dict[str, int]) -> str:
    parts = sorted((base, power) for base, power in powers.items() if power)
    over = "*".join(base + (f"^{power}" if power > 1 else "") for base, power in parts if power > 0)
    under = "*".join(base + (f"^{-power}" if power < -1 else "") for base, power in parts if power < 0)
    return over + (f"/{under}" if under else "")
