"""Are two answers the same, what did a text answer, and what did several answers agree on.

`equal` is symmetric and never raises; what it cannot decide counts as not equal, with the reason in the verdict.
"""

from tasks.grading.equality import Equality, equal
from tasks.grading.extraction import extract_answer
from tasks.grading.options import choose_option
from tasks.grading.reading import explained
from tasks.grading.voting import Vote, vote

__all__ = ["Equality", "Vote", "choose_option", "equal", "explained", "extract_answer", "vote"]
