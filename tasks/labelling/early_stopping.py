"""When the answers given so far decide a question, the others need not be sampled.

Answers come in looks: a few at first, then a few more for each question that is still open. Completion i of a request
depends on its seed and i alone, so what is sampled is the beginning of what full sampling would have sampled: where
nothing is guessed (`risk` 0) a question is kept or dropped exactly as with all m answers.

With k of m answers drawn and t of them in the largest group, the chance of a further answer joining the group is Beta
distributed about t / k (Jeffreys' prior), so the group's final size is t + BetaBinomial(m - k, t + 1/2, k - t + 1/2).
Groups that a later answer would join into one (see `tasks.grading.voting`) are not foreseen; they are rare.
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
from tasks.rewards import Preset, difficulty

Settled = Callable[[Answers], bool]
"""Whether answers, the first of m, decide what they are sampled for."""

_ROUNDING = 1e-9


def decides_keeping(config: FilterConfig, risk: float) -> Settled:
    """Settled when the question is kept, or dropped, with a probability of at least 1 - risk, whatever follows.

    A question that is kept needs its label too: no other group may still reach the largest.
    """
    m, low, high = config.answers, config.low * config.answers, config.high * config.answers

    def settled(answers: Answers) -> bool:
        leader, second = _groups(answers)
        sizes, chances = final_sizes(len(answers), leader, m)
        inside = float(chances[(sizes >= low - _ROUNDING) & (sizes <= high + _ROUNDING)].sum())
        out = inside <= risk + _ROUNDING
        return out or (inside >= 1 - risk - _ROUNDING and leader > second + m - len(answers))

    return settled


def decides_reward(m: int, preset: Preset, tolerance: float) -> Settled:
    """Settled when the difficulty (0..1) that all m answers would give has a standard deviation within `tolerance`."""

    def settled(answers: Answers) -> bool:
        sizes, chances = final_sizes(len(answers), _groups(answers)[0], m)
        values = difficulty(sizes / m, preset)
        mean = float(chances @ values)
        return math.sqrt(max(0.0, float(chances @ (values - mean) ** 2))) <= tolerance

    return settled


@lru_cache(maxsize=4096)
def final_sizes(drawn: int, leader: int, m: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sizes that the largest group can have among all m answers, and how likely each is: float64 [m - drawn + 1]."""
    from scipy.stats import betabinom

    more = np.arange(m - drawn + 1)
    chances = betabinom.pmf(more, m - drawn, leader + 0.5, drawn - leader + 0.5)
    return (leader + more).astype(np.float64), np.asarray(chances, np.float64)


def _groups(answers: Answers) -> tuple[int, int]:
    """Sizes of the two largest groups."""
    sizes = [len(group) for group in vote(answers).groups[:2]]
    return (*sizes, 0, 0)[0], (*sizes, 0, 0)[1]
