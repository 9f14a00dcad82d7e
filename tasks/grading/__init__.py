"""Grading: whether two answers are equal, which answer a reply gives, and what several answers agree on.

`equal` is symmetric and never raises. A pair that could not be compared in time is unknown: it counts as not
equal, and the result says so.
"""

from tasks.grading.equality import NO_ANSWER, Equality, equal, value_of
from tasks.grading.extraction import extract_answer
from tasks.grading.options import choose_option, choose_options
from tasks.grading.reading import explain
from tasks.grading.voting import Vote, vote

__all__ = [
    "NO_ANSWER",
    "Equality",
    "Vote",
    "choose_option",
    "choose_options",
    "equal",
    "explain",
    "extract_answer",
    "value_of",
    "vote",
]
