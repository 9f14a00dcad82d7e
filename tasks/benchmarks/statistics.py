"""Intervals and tests for scores. Every interval and test of the project is computed here.

Items are the random sample, so errors are over items, not over the samples of one item. Items that share a seed
question, a problem or a figure are not independent; then clusters are the unit (Miller 2024, "Adding Error Bars to
Evals", arXiv 2411.00640). Shares are 0..1; a `Gain` is in points, 0..100.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tasks.records import Score

Interval = tuple[float, float]
Criterion = Literal["estimate", "lower end"]
Clusters = Sequence[Hashable]
"""The cluster of each item."""

Z = 1.96
"""Normal quantile of a 95 % interval."""


def clusters_of(scores: Sequence[Score]) -> list[str]:
    """The cluster of each item; an item without a cluster is a cluster of its own."""
    return [f"item {row.id}" if row.cluster is None else f"cluster {row.cluster}" for row in scores]


def wilson(successes: float, trials: float) -> Interval:
    """95 % interval of a share (Wilson 1927), valid for few trials and near 0 and 1 too; (0, 1) without trials."""
    if not trials:
        return 0.0, 1.0
    share = successes / trials
    centre = (share + Z**2 / (2 * trials)) / (1 + Z**2 / trials)
    half = Z / (1 + Z**2 / trials) * math.sqrt(share * (1 - share) / trials + Z**2 / (4 * trials**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def clustered_wilson(right: Sequence[bool], clusters: Clusters | None = None) -> Interval:
    """Wilson's interval at the effective number of items: the number of independent items with the same standard error.

    The effective number is p (1 - p) / SE² with the clustered SE (Korn and Graubard 1998), at least the number of
    clusters and at most the number of items. If all or no items are right, SE is 0, and the number of clusters is used.
    """
    items, share = len(right), float(np.mean(right)) if right else 0.0
    groups = items if clusters is None else len(set(clusters))
    if groups == items:
        return wilson(share * items, items)
    error = standard_error([float(value) for value in right], clusters)
    effective = share * (1 - share) / error**2 if error else groups
    effective = min(items, max(groups, effective)) if 0 < share < 1 else groups
    return wilson(share * effective, effective)


def standard_error(values: Sequence[float], clusters: Clusters | None = None) -> float:
    """Standard error of the mean, robust to correlation within clusters; infinite for fewer than two clusters.

    sqrt(G / (G - 1) * sum over clusters of (sum of deviations from the mean)²) / n. If every item is a cluster of its
    own, this is the ordinary s / sqrt(n).
    """
    array = np.asarray(values, np.float64)
    sums = _cluster_sums(array - array.mean(), _cluster_numbers(clusters, len(array)))
    if len(sums) < 2:
        return math.inf
    return float(np.sqrt(len(sums) / (len(sums) - 1) * np.square(sums).sum()) / len(array))


def mean_interval(values: Sequence[float], clusters: Clusters | None = None) -> Interval:
    """95 % interval of the mean of shares such as avg@k, by Student's t with clusters - 1 degrees of freedom."""
    from scipy.stats import t

    groups = len(values) if clusters is None else len(set(clusters))
    if groups < 2:
        return 0.0, 1.0
    mean = float(np.mean(values))
    half = float(t.ppf(0.975, groups - 1)) * standard_error(values, clusters)
    return max(0.0, mean - half), min(1.0, mean + half)


def bootstrap_interval(values: NDArray[np.float64], resamples: int, seed: int) -> Interval:
    """95 % percentile bootstrap interval of the mean; (0, 1) without values."""
    if not len(values):
        return 0.0, 1.0
    drawn = np.random.default_rng(seed).choice(values, (resamples, len(values)))
    low, high = np.percentile(drawn.mean(axis=1), (2.5, 97.5))
    return float(low), float(high)


@dataclass(frozen=True)
class Gain:
    """A figure before and after, and the 95 % interval of the difference, in points (0..100)."""

    before: float
    after: float
    low: float
    high: float

    @property
    def points(self) -> float:
        return self.after - self.before

    def value(self, criterion: Criterion) -> float:
        """What has to pass: the difference, or the lower end of its interval."""
        return self.points if criterion == "estimate" else self.low


def gain(
    before: Sequence[float], after: Sequence[float], resamples: int, seed: int, clusters: Clusters | None = None
) -> Gain:
    """Paired percentile bootstrap over items whose values are shares (0..1).

    With clusters, whole clusters are drawn.
    """
    old, new = np.asarray(before, np.float64) * 100, np.asarray(after, np.float64) * 100
    numbers = _cluster_numbers(clusters, len(old))
    sums, sizes = _cluster_sums(new - old, numbers), np.bincount(numbers)
    drawn = np.random.default_rng(seed).integers(len(sums), size=(resamples, len(sums)))
    low, high = np.percentile(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), (2.5, 97.5))
    return Gain(float(old.mean()), float(new.mean()), float(low), float(high))


@dataclass(frozen=True)
class McNemar:
    """McNemar's test: the items on which two models differ, and the p value of so uneven a split."""

    won: int
    """Wrong before, right after."""
    lost: int
    p: float
    """Two-sided, exact; 1 where nothing changed."""


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> McNemar:
    """Exact McNemar test (1947) of paired answers: without a change, each differing item is a fair coin.

    The test takes items as independent. If items form clusters, use the bootstrap of `gain`.
    """
    from scipy.stats import binomtest

    won = sum(new and not old for old, new in zip(before, after, strict=True))
    lost = sum(old and not new for old, new in zip(before, after, strict=True))
    return McNemar(won, lost, float(binomtest(won, won + lost).pvalue) if won + lost else 1.0)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for multiple tests (Holm 1979), in the same order. Reject at 0.05."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = least
    return adjusted


def _cluster_numbers(clusters: Clusters | None, items: int) -> NDArray[np.int64]:
    """Each item's cluster as a number from 0, in order of first appearance."""
    if clusters is None:
        return np.arange(items)
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters], np.int64)


def _cluster_sums(values: NDArray[np.float64], numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(np.bincount(numbers, weights=values), np.float64)
