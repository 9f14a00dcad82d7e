"""Read the answer from a Solver's reply, and grade it."""

from __future__ import annotations

import math
from typing import NamedTuple

from tasks.benchmarks.choices import option_letters
from tasks.benchmarks.item import BenchmarkItem
from tasks.grading import choose_option, choose_options, equal, extract_answer, value_of

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
    if item.decimals is not None:
        return Grade(rounds_to(answer, item.target, item.decimals))
    comparisons = [equal(answer, target) for target in targets]
    right = any(comparison.equal for comparison in comparisons)
    right = right or any(within_tolerance(answer, target, item.tolerance) for target in targets)
    return Grade(right, not right and any(comparison.unknown for comparison in comparisons))


def within_tolerance(answer: str, target: str, tolerance: float) -> bool:
    """Whether both are numbers that differ by at most the tolerance. Always False for a tolerance of 0."""
    if not tolerance:
        return False
    first, second = value_of(answer), value_of(target)
    return first is not None and second is not None and abs(first - second) <= tolerance + 1e-12


def rounds_to(answer: str, target: str, decimals: int) -> bool:
    """Whether an answer is the target after rounding; of 0 decimals, after cutting them off.

    Source: `normalize_extracted_answer` of MathVista's `calculate_score.py`.
    """
    first, second = value_of(answer), value_of(target)
    if first is None or second is None or not math.isfinite(first):
        return False
    return round(first, decimals) == round(second, decimals) if decimals else int(first) == int(second)
