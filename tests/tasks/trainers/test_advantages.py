"""Group-relative advantages and DAPO's filter."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.trainers.advantages import advantages, has_spread, informative

REWARDS = st.lists(st.lists(st.floats(-2, 2), min_size=4, max_size=4), min_size=1, max_size=5).map(np.array)


@given(REWARDS)
def test_advantages_of_a_group_sum_to_zero(rewards: np.ndarray) -> None:
    assert np.allclose(advantages(rewards, "none").sum(axis=1), 0, atol=1e-9)


@given(REWARDS, st.floats(0.5, 5), st.floats(-3, 3))
def test_group_scaling_ignores_unit_and_origin_of_rewards(rewards: np.ndarray, unit: float, origin: float) -> None:
    spread = np.ptp(rewards, axis=1) > 1e-3
    kept = rewards[spread]
    assert np.allclose(advantages(kept, "group"), advantages(kept * unit + origin, "group"), atol=1e-5)


def test_a_group_of_equal_rewards_has_no_advantage_at_any_scale() -> None:
    rewards = np.array([[0.3, 0.3, 0.3], [0.0, 1.0, 0.0]])
    for scale in ("group", "batch", "none"):
        assert (advantages(rewards, scale)[0] == 0).all()


def test_batch_scaling_divides_by_one_deviation() -> None:
    rewards = np.array([[0.0, 1.0], [0.0, 3.0]])
    assert np.allclose(advantages(rewards, "batch"), [[-0.5, 0.5], [-1.5, 1.5]] / rewards.std(ddof=1))


def test_the_filter_drops_groups_that_are_all_right_or_all_wrong() -> None:
    rewards = np.array([[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]], dtype=float)
    assert informative(rewards).tolist() == [False, False, True]


def test_the_filter_drops_rare_successes_of_binary_rewards_alone() -> None:
    rare = np.zeros((1, 200))
    rare[0, 0] = 1
    assert not informative(rare).any()
    assert has_spread(rare).all()
    rare[0, 1] = 0.5
    assert informative(rare).all()


def test_the_filter_drops_graded_groups_only_without_spread() -> None:
    assert informative(np.array([[0.9, 0.9], [0.9, 1.0], [-0.1, 0.0]])).tolist() == [False, True, True]
