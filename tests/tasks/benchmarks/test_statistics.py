"""Intervals and tests agree with independent computations of their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tasks.benchmarks.statistics import (
    bootstrap_interval,
    clustered_wilson,
    gain,
    holm,
    mcnemar,
    mean_interval,
    standard_error,
    wilson,
)

shares = st.lists(st.floats(0, 1), min_size=2, max_size=40)
bits = st.lists(st.booleans(), min_size=1, max_size=60)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(pair: tuple[int, int]) -> None:
    other = stats.binomtest(*pair).proportion_ci(0.95, "wilson")
    assert wilson(*pair) == pytest.approx((other.low, other.high), abs=1e-4)


def test_without_trials_the_interval_is_0_to_1() -> None:
    assert wilson(0, 0) == (0, 1)
    assert mean_interval([0.5]) == (0, 1)


@given(shares)
def test_without_clusters_the_standard_error_is_ordinary(values: list[float]) -> None:
    assert standard_error(values) == pytest.approx(float(stats.sem(values)), abs=1e-12)


@given(shares, st.integers(2, 6))
def test_copies_of_an_item_in_one_cluster_add_no_information(values: list[float], copies: int) -> None:
    clusters = [i for i in range(len(values)) for _ in range(copies)]
    repeated = [value for value in values for _ in range(copies)]
    assert standard_error(repeated, clusters) == pytest.approx(standard_error(values), abs=1e-12)
    assert mean_interval(repeated, clusters) == pytest.approx(mean_interval(values), abs=1e-9)


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 1)), min_size=4, max_size=60))
def test_the_clustered_standard_error_is_the_sandwich_estimator(rows: list[tuple[int, float]]) -> None:
    clusters, values = [c for c, _ in rows], np.array([v for _, v in rows])
    groups = sorted(set(clusters))
    if len(groups) < 2:
        assert standard_error(values.tolist(), clusters) == math.inf
        return
    rest, member = values - values.mean(), np.array([[c == g for c in clusters] for g in groups], float)
    meat = sum(float(m @ rest) ** 2 for m in member)  # X'e of each cluster, squared; the bread is 1 / n on both sides
    expected = math.sqrt(len(groups) / (len(groups) - 1) * meat) / len(values)
    assert standard_error(values.tolist(), clusters) == pytest.approx(expected, abs=1e-12)


def test_the_mean_interval_is_students() -> None:
    values = [0.2, 0.4, 0.9, 0.5, 0.6]
    expected = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert mean_interval(values) == pytest.approx(expected, abs=1e-12)


@given(bits)
def test_clusters_of_one_item_leave_wilsons_interval_as_it_is(right: list[bool]) -> None:
    assert clustered_wilson(right, list(range(len(right)))) == clustered_wilson(right) == wilson(sum(right), len(right))


def test_identical_items_have_the_interval_of_their_clusters() -> None:
    right = [True, False, True, True, False, True]
    repeated, clusters = [value for value in right for _ in range(10)], [i for i in range(6) for _ in range(10)]
    assert clustered_wilson(repeated, clusters) == pytest.approx(clustered_wilson(right), abs=0.05)
    assert clustered_wilson([True] * 60, clusters) == wilson(6, 6)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=80))
def test_mcnemar_is_the_binomial_test_of_changed_items(pairs: list[tuple[bool, bool]]) -> None:
    before, after = [old for old, _ in pairs], [new for _, new in pairs]
    b, c = pairs.count((False, True)), pairs.count((True, False))
    expected = min(1.0, 2 * sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c))
    result = mcnemar(before, after)
    assert (result.won, result.lost) == (b, c)
    assert result.p == pytest.approx(expected)
    assert mcnemar(after, before).p == pytest.approx(result.p)


def test_holm_on_the_textbook_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.randoms())
def test_holm_lies_between_p_and_bonferroni_in_any_order(p: list[float], random: object) -> None:
    adjusted = holm(p)
    assert all(raw <= new <= min(1, len(p) * raw) + 1e-12 for raw, new in zip(p, adjusted, strict=True))
    assert holm(p[::-1]) == pytest.approx(adjusted[::-1])


def test_for_many_items_the_bootstrap_is_the_normal_interval() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.random(2000), rng.random(2000)
    found, rest = gain(before.tolist(), after.tolist(), 4000, 0), 100 * (after - before)
    half = 1.96 * rest.std(ddof=1) / math.sqrt(2000)
    assert (found.low, found.high) == pytest.approx((rest.mean() - half, rest.mean() + half), abs=0.1)


def test_clusters_widen_the_interval_of_dependent_items() -> None:
    rng = np.random.default_rng(1)
    shift = np.repeat(rng.normal(0, 0.2, 40), 25)
    clusters = np.repeat(np.arange(40), 25).tolist()
    before = [0.5] * 1000
    alone = gain(before, (0.5 + shift).tolist(), 1000, 0)
    together = gain(before, (0.5 + shift).tolist(), 1000, 0, clusters)
    assert together.points == pytest.approx(alone.points)
    assert together.high - together.low > 4 * (alone.high - alone.low)
    error = 100 * standard_error(shift.tolist(), clusters)
    assert together.high - together.low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_the_bootstrap_narrows_with_more_values() -> None:
    rng = np.random.default_rng(0)
    few, many = rng.random(10), rng.random(1000)
    (low, high), (lower, higher) = bootstrap_interval(few, 1000, 0), bootstrap_interval(many, 1000, 0)
    assert low < few.mean() < high
    assert lower < many.mean() < higher
    assert higher - lower < high - low
