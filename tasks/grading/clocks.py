"""Read times of day, and ratios, which look like them: `12:16` is a time, and beside another ratio 3:4."""

import re
from dataclasses import replace
from fractions import Fraction

from tasks.grading.forms import Ratio, TimeOfDay
from tasks.grading.quantities import read_number

_CLOCK = re.compile(
    r"(?:at\s+)?(\d{1,2})(?:[:.h](\d{2})(?::(\d{2}))?)?\s*(?:o'?\s?clock)?\s*(a\.?m\.?|p\.?m\.?)?(?:\s*o'?\s?clock)?",
    re.IGNORECASE,
)
_SPOKEN_CLOCK = re.compile(
    r"(?:(?P<minutes>[\w ]+?)\s*(?:minutes?\s+)?(?P<side>past|after|to|before)\s+)?(?P<hour>\w+)(?:\s+o'?\s?clock)?"
    r"(?:\s*(?P<half>a\.?m\.?|p\.?m\.?))?",
    re.IGNORECASE,
)
_SAYS_A_TIME = re.compile(r"past|after|to|before|clock|[ap]\.?m", re.IGNORECASE)
_DIGITAL_CLOCK = re.compile(r"([a-z]+) (fifteen|thirty|forty[ -]five)")
_SPOKEN_MINUTES = {"half": Fraction(30), "quarter": Fraction(15), "a quarter": Fraction(15)}
_RATIO = re.compile(r"[\d.()/]+(?:\s*:\s*[\d.()/]+)+")


def read_time(text: str) -> TimeOfDay | None:
    """`3:05 pm`, `half past three`, `noon`; None for anything else."""
    if text.lower() in ("noon", "midday"):
        return TimeOfDay(12 * 3600, True)
    if text.lower() == "midnight":
        return TimeOfDay(0, True)
    match = _CLOCK.fullmatch(text)
    if match is None:
        return _read_spoken_clock(text)
    spoken_time = match[4] is not None or "clock" in text.lower()
    if not spoken_time and (match[2] is None or "." in text):
        return None
    time = _time_of_day(int(match[1]), Fraction(int(match[2] or 0)), int(match[3] or 0), match[4])
    return replace(time, ratio=read_ratio(text)) if time is not None else None


def _read_spoken_clock(text: str) -> TimeOfDay | None:
    digital = _DIGITAL_CLOCK.fullmatch(text.lower())
    if digital is not None:
        hour, minutes = read_number(digital[1]), read_number(digital[2])
        return _time_of_day(int(hour), minutes, 0, None) if hour and minutes and hour in range(1, 13) else None
    if not _SAYS_A_TIME.search(text):
        return None
    match = _SPOKEN_CLOCK.fullmatch(text)
    if match is None or not (match["minutes"] or match["half"] or "clock" in text.lower()):
        return None
    hour = read_number(match["hour"])
    spoken = (match["minutes"] or "zero").lower()
    minutes = _SPOKEN_MINUTES.get(spoken) or read_number(spoken)
    if hour is None or minutes is None or not 1 <= hour <= 12 or not 0 <= minutes < 60:
        return None
    if text[:1].isdigit() and match["side"] == "to" and not match["half"]:
        return None  # `3 to 5` is a span
    before = match["side"] is not None and match["side"].lower() in ("to", "before")
    past = hour * 60 + (-minutes if before else minutes)
    return _time_of_day(int(past // 60) or 12, past % 60, 0, match["half"])


def _time_of_day(hour: int, minutes: Fraction, seconds: int, half: str | None) -> TimeOfDay | None:
    """The time of day; None if a part is out of range. `half`: am or pm."""
    if hour > 23 or minutes >= 60 or seconds >= 60 or (half and not 1 <= hour <= 12):
        return None
    if half:
        hour = hour % 12 + (12 if half[0] in "pP" else 0)
    whole_day = half is None and (hour > 12 or hour == 0)
    return TimeOfDay(int(hour * 3600 + minutes * 60 + seconds), half is not None or whole_day, whole_day)


def read_ratio(text: str) -> Ratio | None:
    """`3:4`, `1/2 : 1/3`, `2:4:6`; None for anything else."""
    if not _RATIO.fullmatch(text):
        return None
    terms = [read_number(term.strip()) for term in text.split(":")]
    numbers = [term for term in terms if term is not None]
    if len(numbers) < len(terms):
        return None
    first = next((number for number in numbers if number), Fraction(1))
    return Ratio(tuple(number / first for number in numbers))
