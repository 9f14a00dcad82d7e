"""Early stopping of votes: stop sampling a question's answers once those drawn so far decide the outcome.

Answers are drawn a few at a time, for the questions that are still open. Completion i of a request depends on its seed
and on i alone, so the answers drawn are the first of those that full sampling would draw. With `risk` 0 a question is
therefore kept or dropped exactly as with all m answers.

After k of m answers, of which t are in the largest group, the probability that a further answer joins this group is
Beta distributed around t / k (Jeffreys' prior). The group's final size is then t + BetaBinomial(m - k, t + 1/2,
k - t + 1/2). Not modelled, because it is rare: a later answer that merges two groups (see `tasks.grading.voting`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tasks.config import FilterConfig
from tasks.grading import vote
from tasks.records import Answers
from tasks.rewards import AgreementWindow, Preset, difficulty

StopRule = Callable[[Answers], bool]
"""Whether the answers drawn so far, the first of m, suffice."""

_ROUNDING = 1e-9


def filter_stop_rule(config: FilterConfig, risk: float) -> StopRule:
    """Stop when the question is kept, or dropped, with a probability of at least 1 - risk.

    A question that is kept also needs its label: no other group may still reach the size of the largest.
    """
    m, low, high = config.answers, config.low * config.answers, config.high * config.answers

    def decided(answers: Answers) -> bool:
        largest, second = _largest_groups(answers)
        sizes, probabilities = final_sizes(len(answers), largest, m)
        in_window = float(probabilities[(sizes >= low - _ROUNDING) & (sizes <= high + _ROUNDING)].sum())
        dropped = in_window <= risk + _ROUNDING
        return dropped or (in_window >= 1 - risk - _ROUNDING and largest > second + m - len(answers))

    return decided


def reward_stop_rule(m: int, preset: Preset, tolerance: float) -> StopRule:
    """Stop when the difficulty (0..1) from all m answers has a standard deviation of at most `tolerance`.

    A window also pays for the label, so there no other group may still reach the size of the largest.
    """

    def decided(answers: Answers) -> bool:
        largest, second = _largest_groups(answers)
        sizes, probabilities = final_sizes(len(answers), largest, m)
        values = difficulty(sizes / m, preset)
        values -= values[0]  # so that equal values have a deviation of exactly 0
        mean = float(probabilities @ values)
        labelled = not isinstance(preset, AgreementWindow) or largest > second + m - len(answers)
        return labelled and math.sqrt(max(0.0, float(probabilities @ (values - mean) ** 2))) <= tolerance

    return decided


@lru_cache(maxsize=4096)
def final_sizes(drawn: int, largest: int, m: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The possible sizes of the largest group among all m answers, and their probabilities: float64 [m - drawn + 1]."""
    from scipy.stats import betabinom

    joining = np.arange(m - drawn + 1)
    probabilities = betabinom.pmf(joining, m - drawn, largest + 0.5, drawn - largest + 0.5)
    return (largest + joining).astype(np.float64), np.asarray(probabilities, np.float64)


def _largest_groups(answers: Answers) -> tuple[int, int]:
    """Sizes of the two largest groups of equal answers."""
    sizes = [len(group) for group in vote(answers).groups[:2]]
    return (*sizes, 0, 0)[0], (*sizes, 0, 0)[1]
