"""Read dates in words, in ISO 8601, and with slashes.

`7/4/1776` is July 4, as in the United States, unless only the other order is a date: `25/12/2020`.
"""

import re

from tasks.grading.forms import Date
from tasks.grading.words import SPELLINGS

MONTHS = ("january february march april may june july august september october november december").split()
_NUMBER_OF = {name: number for number, name in enumerate(MONTHS, 1)}
_MONTH = r"(?P<month>[a-z]{3,9})\.?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_PATTERNS = [
    re.compile(rf"{_MONTH}\s+{_DAY}(?:,?\s+(?P<year>\d{{4}}))?"),
    re.compile(rf"(?:the\s+)?{_DAY}\s+(?:of\s+)?{_MONTH}(?:,?\s+(?P<year>\d{{4}}))?"),
    re.compile(rf"{_MONTH},?\s+(?P<year>\d{{4}})"),
    re.compile(r"(?P<year>\d{4})-(?P<number>\d{2})-(?P<day>\d{2})"),
    re.compile(r"(?P<number>0?[1-9]|1[0-2])/(?P<day>\d{1,2})/(?P<year>\d{4})"),
    re.compile(r"(?P<day>\d{1,2})/(?P<number>0?[1-9]|1[0-2])/(?P<year>\d{4})"),
]


def read_date(text: str) -> Date | None:
    """`July 4, 1776`, `4th of July`, `March 2020`, `1776-07-04`; None for anything else."""
    lower = text.lower()
    for pattern in _PATTERNS:
        match = pattern.fullmatch(lower)
        if match is not None:
            return _date(match.groupdict())
    return None


def _date(parts: dict[str, str | None]) -> Date | None:
    name = parts.get("month") or ""
    month = _NUMBER_OF.get(SPELLINGS.get(name, name)) or int(parts.get("number") or 0)
    day = int(parts.get("day") or 0)
    year = int(parts.get("year") or 0)
    return Date(year or None, month, day or None) if 1 <= month <= 12 and day <= 31 else None
