"""Domain difficulty and domain weights from agreements."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.config import ProbeConfig, load_config
from tasks.probe import frontier, weights

shares = st.lists(st.floats(0, 1), min_size=1, max_size=61)


@given(shares, st.floats(0, 1))
def test_weights_are_shares(difficulties: list[float], smoothing: float) -> None:
    shares_of_domains = weights(difficulties, smoothing)
    assert sum(shares_of_domains) == pytest.approx(1)
    assert all(weight >= 0 for weight in shares_of_domains)


@given(shares)
def test_full_smoothing_ignores_the_frontier(difficulties: list[float]) -> None:
    assert weights(difficulties, 1.0) == pytest.approx([1 / len(difficulties)] * len(difficulties))


def test_without_smoothing_weights_follow_the_difficulty() -> None:
    assert weights([0.2, 0.6, 0.0], 0.0) == pytest.approx([0.25, 0.75, 0.0])


def test_weights_are_even_where_nothing_is_difficult() -> None:
    assert weights([0.0, 0.0], 0.3) == pytest.approx([0.5, 0.5])


def test_a_domain_at_the_frontier_outweighs_a_mastered_one() -> None:
    rows = frontier({"mastered": [1.0] * 4, "frontier": [0.5] * 4, "silent": [None] * 4}, ProbeConfig(), seed=0)
    by_name = {row.domain: row for row in rows}
    assert by_name["frontier"].difficulty == 1
    assert by_name["mastered"].difficulty == by_name["silent"].difficulty == 0
    assert by_name["frontier"].weight > by_name["mastered"].weight == by_name["silent"].weight > 0
    assert (by_name["silent"].questions, by_name["silent"].agreement) == (4, 0.0)


def test_preset_window_probes_where_the_filter_keeps() -> None:
    config = load_config("tiny", ["rewards.preset=window", "probe.smoothing=0"]).probe_by_preset
    even, kept = frontier({"even": [0.5] * 4, "kept": [0.75] * 4, "none": [None]}, config, seed=0)[:2]
    assert (kept.difficulty, even.difficulty) == (1, pytest.approx(0.5 / 0.6))
    assert kept.weight > even.weight


def test_a_picture_without_a_question_lowers_the_difficulty() -> None:
    half = frontier({"a": [0.5, None]}, ProbeConfig(), seed=0)[0]
    assert (half.difficulty, half.agreement) == (0.5, 0.5)


def test_a_domain_without_pictures_has_difficulty_zero() -> None:
    row = frontier({"empty": [], "full": [0.5]}, ProbeConfig(), seed=0)[0]
    assert (row.questions, row.difficulty, row.low, row.high) == (0, 0.0, 0.0, 1.0)
