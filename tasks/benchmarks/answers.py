"""Read the answer from a Solver's reply, and grade it."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from tasks.benchmarks.choices import option_letters
from tasks.benchmarks.item import BenchmarkItem
from tasks.grading import choose_option, choose_options, equal, extract_answer

YES_OR_NO = {"Y": "yes", "N": "no"}


class Grade(NamedTuple):
    """Whether an answer is right. `timed_out`: it counts as wrong because the grader could not compare it in time."""

    right: bool
    timed_out: bool = False


def read_answer(item: BenchmarkItem, text: str, finished: bool = True) -> str | None:
    """The answer of a reply in the format of the item's target; None if the reply has none.

    An open question needs a boxed answer. An option may also be chosen in prose, but not in a reply that was cut off,
    whose last words are no conclusion.
    """
    boxed = extract_answer(text)
    if item.answer_format == "open" or (boxed is None and not finished):
        return boxed
    if item.answer_format == "yes or no":
        letter = choose_option(text, YES_OR_NO)
        return None if letter is None else YES_OR_NO[letter]
    if item.answer_format == "letters":
        return option_letters(text if boxed is None else boxed) or choose_options(text, dict(item.options)) or None
    return choose_option(text, dict(item.options))


def grade(item: BenchmarkItem, answer: str | None) -> Grade:
    """Compare an answer with the item's right answers: option letters as text, anything else by meaning."""
    if answer is None:
        return Grade(False)
    if item.answer_format in ("letter", "letters"):
        return Grade(answer == item.target)
    targets = (item.target, *item.alternatives)
    comparisons = [equal(answer, target) for target in targets]
    right = any(comparison.equal for comparison in comparisons)
    right = right or any(within_tolerance(answer, target, item.tolerance) for target in targets)
    return Grade(right, not right and any(comparison.unknown for comparison in comparisons))


def within_tolerance(answer: str, target: str, tolerance: float) -> bool:
    """Whether both are plain numbers that differ by at most the tolerance. Always False for a tolerance of 0."""
    if not tolerance:
        return False
    first, second = parse_number(answer), parse_number(target)
    return first is not None and second is not None and abs(first - second) <= tolerance + 1e-12


def parse_number(text: str) -> float | None:
    """The value of a decimal number or a fraction, either of them perhaps times π; None for any other text."""
    plain = text.strip().strip("$").replace(",", "").replace("\\pi", "π").replace(" ", "")
    match = re.fullmatch(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d{1,3})?)(?:/(\d+\.?\d*))?(π)?", plain, re.IGNORECASE)
    if match is None or (match[2] is not None and not float(match[2])):
        return None
    return float(match[1]) / float(match[2] or 1) * (math.pi if match[3] else 1)
