"""What a reply answers, and whether that is right."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from tasks.benchmarks.choices import letters_in
from tasks.benchmarks.item import BenchmarkItem
from tasks.grading import choose_option, equal, extract_answer

YES_OR_NO = {"Y": "yes", "N": "no"}


class Mark(NamedTuple):
    """Whether an answer is right; and if not, whether the grader gave up on it."""

    right: bool
    timed_out: bool = False


def read(item: BenchmarkItem, text: str, finished: bool = True) -> str | None:
    """The answer of a reply in the form of the item's target; None where it gives none.

    Open questions are answered in a box. Options may be chosen in prose, but not in a reply that was cut off: what it
    says last is not what it concludes.
    """
    boxed = extract_answer(text)
    if item.form == "open" or (boxed is None and not finished):
        return boxed
    if item.form == "yes or no":
        letter = choose_option(text, YES_OR_NO)
        return None if letter is None else YES_OR_NO[letter]
    if item.form == "letters" and (several := letters_in(text if boxed is None else boxed)):
        return several
    return choose_option(text, dict(item.options))


def mark(item: BenchmarkItem, answer: str | None) -> Mark:
    """Letters are compared as letters, all of them; anything else by meaning."""
    if answer is None:
        return Mark(False)
    if item.form in ("letter", "letters"):
        return Mark(answer == item.target)
    verdicts = [equal(answer, target) for target in (item.target, *item.also)]
    right = any(verdict.equal for verdict in verdicts) or any(
        close(answer, target, item.tolerance) for target in (item.target, *item.also)
    )
    return Mark(right, not right and any("time-out" in verdict.reason for verdict in verdicts))


def close(answer: str, target: str, tolerance: float) -> bool:
    """Whether both are plain numbers, and no further apart than the tolerance (0 closes nothing)."""
    if not tolerance:
        return False
    first, second = number(answer), number(target)
    return first is not None and second is not None and abs(first - second) <= tolerance + 1e-12


def number(text: str) -> float | None:
    """A decimal number, a fraction, or either times π."""
    plain = text.strip().strip("$").replace(",", "").replace("\\pi", "π").replace(" ", "")
    found = re.fullmatch(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d{1,3})?)(?:/(\d+\.?\d*))?(π)?", plain, re.IGNORECASE)
    if found is None or (found[2] is not None and not float(found[2])):
        return None
    return float(found[1]) / float(found[2] or 1) * (math.pi if found[3] else 1)
