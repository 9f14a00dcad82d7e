"""Grading: whether two answers are equal, which answer a reply gives, and what several answers agree on.

`equal` is symmetric and never raises. An undecided pair counts as not equal; the result's reason says so.
"""

from tasks.grading.equality import Equality, equal
from tasks.grading.extraction import extract_answer
from tasks.grading.options import choose_option
from tasks.grading.reading import explain
from tasks.grading.voting import Vote, vote

__all__ = ["Equality", "Vote", "choose_option", "equal", "explain", "extract_answer", "vote"]
