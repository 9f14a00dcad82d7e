"""Group-relative advantages and DAPO's filter, computed from a table of rewards, float64 (groups, rollouts).

This replaces TRL's arithmetic, which lacks the filter. Two more departures from TRL: the standard deviation has a lower
bound instead of an added epsilon, and a group without spread has advantages of exactly 0.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Scale = Literal["group", "batch", "none"]

SPREAD = 1e-6
"""Rewards closer than this count as equal: they differ by rounding."""

LOWEST, HIGHEST = 0.01, 0.99
"""DAPO keeps a group of 0/1 rewards if its mean lies between these two."""


def has_spread(rewards: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether the rewards of each group differ, (groups,): groups of equal rewards have no gradient."""
    spread: NDArray[np.bool_] = np.ptp(rewards, axis=1) > SPREAD
    return spread


def informative(rewards: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Groups that DAPO's filter keeps, (groups,): with spread, and for 0/1 rewards a mean within 0.01..0.99.

    Source: arXiv 2503.14476, eq. 11.
    """
    means = rewards.mean(axis=1)
    binary = np.isin(rewards, (0.0, 1.0)).all(axis=1)
    extreme = binary & ((means < LOWEST) | (means > HIGHEST))
    kept: NDArray[np.bool_] = has_spread(rewards) & ~extreme
    return kept


def advantages(rewards: NDArray[np.float64], scale: Scale) -> NDArray[np.float64]:
    """Advantages (groups, rollouts): reward minus the group's mean, divided as `scale` says.

    The divisor is the standard deviation (n - 1) of the group or of the batch; `none` does not divide.
    """
    centred = np.where(has_spread(rewards)[:, None], rewards - rewards.mean(axis=1, keepdims=True), 0.0)
    if scale == "none":
        return centred
    deviation = rewards.std(axis=1, ddof=1, keepdims=True) if scale == "group" else rewards.std(ddof=1)
    divided: NDArray[np.float64] = centred / np.maximum(deviation, SPREAD)
    return divided
