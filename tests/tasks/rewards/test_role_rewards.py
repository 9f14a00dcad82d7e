"""The roles' rewards under each preset."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.rewards import AgreementWindow, difficulty, questioner_rewards, searcher_rewards, solver_rewards


@given(st.lists(st.floats(0, 1), max_size=20))
def test_repo_difficulty_is_half_of_the_papers(agreement: list[float]) -> None:
    np.testing.assert_allclose(2 * difficulty(agreement, "repo"), difficulty(agreement, "paper"), atol=1e-12)


def test_difficulty_is_highest_at_the_frontier_and_zero_when_certain() -> None:
    np.testing.assert_allclose(difficulty([0, 0.25, 0.5, 1], "paper"), [0, 0.5, 1, 0])


def test_agreement_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="agreement must lie"):
        difficulty([1.2])


def test_repo_searcher_reward_is_the_published_formula() -> None:
    rewards = searcher_rewards([0.6, None], [True, False], [0.1, 0.0], [0.2, 0.0], "repo")
    np.testing.assert_allclose(rewards, [0.9 * 0.4 + 0.1 - 0.3, -0.9], atol=1e-12)


def test_paper_rewards_are_difficulty_minus_penalties() -> None:
    np.testing.assert_allclose(searcher_rewards([0.6, None], [True, False], [0.1, 0], [0.2, 0], "paper"), [0.5, 0])
    np.testing.assert_allclose(questioner_rewards([0.6], [False], [0.1], "paper"), [0.7])


def test_repo_questioner_reward_is_the_published_formula() -> None:
    rewards = questioner_rewards([0.5, 0.5, None], [True, False, False], [0.25, 0.25, 0], "repo")
    np.testing.assert_allclose(rewards, [0.3, 0.2, -0.9], atol=1e-12)


def test_safe_gives_malformed_output_0() -> None:
    assert questioner_rewards([None, 0.5], [True, False], [0.5, 0.5], "safe").tolist() == [0, 0]
    assert searcher_rewards([None], [False], [0.5], [0.5], "safe").tolist() == [0]


def test_safe_rewards_the_worst_well_formed_output_above_0() -> None:
    rewards = searcher_rewards([1.0, None], [True, False], [1.0, 1.0], [1.0, 0.0], "safe")
    assert rewards[0] > rewards[1] == 0


def test_safe_differences_of_well_formed_outputs_are_penalties() -> None:
    penalties = np.array([0.0, 0.25, 1.0])
    rewards = questioner_rewards([0.5] * 3, [True] * 3, penalties, "safe")
    np.testing.assert_allclose(np.diff(rewards), -np.diff(penalties))


def test_solver_rewards_by_preset() -> None:
    correct, boxed = [True, True, False, False], [True, False, True, False]
    assert solver_rewards(correct, boxed, "paper").tolist() == [1, 1, 0, 0]
    np.testing.assert_allclose(solver_rewards(correct, boxed, "repo"), [1, 0.9, 0.1, 0])
    np.testing.assert_allclose(solver_rewards(correct, boxed, "safe"), [1, 0, 0.1, 0])
    np.testing.assert_allclose(solver_rewards(correct, boxed, "window"), [1, 0, 0.1, 0])


def test_window_difficulty_is_1_inside_and_falls_to_0_outside() -> None:
    found = difficulty([0, 0.3, 0.6, 0.75, 0.9, 0.95, 1], AgreementWindow(0.6, 0.9))
    np.testing.assert_allclose(found, [0, 0.5, 1, 1, 1, 0.5, 0], atol=1e-12)


def test_a_window_may_end_at_0_and_at_1() -> None:
    assert difficulty([0, 0.5, 1], AgreementWindow(0, 1)).tolist() == [1, 1, 1]


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_window_difficulty_is_1_only_inside_the_window(p: float, one: float, other: float) -> None:
    window = AgreementWindow(min(one, other), max(one, other))
    found = float(difficulty(p, window))
    assert 0 <= found <= 1
    assert window.low <= p <= window.high or found < 1 or min(abs(p - one), abs(p - other)) < 1e-9
    assert not window.low <= p <= window.high or found == 1


def test_the_window_without_its_ends_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the window's ends"):
        difficulty([0.5], "window")


def test_window_rewards_are_those_of_safe_with_validity() -> None:
    formats, penalties = [True, True, True, False], [0.25, 0.25, 0.25, 0.25]
    rewards = questioner_rewards(
        [0.7, 0.7, 0.7, 0.7], formats, penalties, AgreementWindow(0.6, 0.9), validity=[1.0, 0.5, 0.0, 1.0]
    )
    np.testing.assert_allclose(rewards, [0.9 + 0.1 + 0.75, 0.45 + 0.1 + 0.75, 0.1 + 0.75, 0], atol=1e-12)
    searched = searcher_rewards([0.3, None], [True] * 2, [0.25] * 2, [0.5] * 2, AgreementWindow(0.6, 0.9), [1.0, 0.0])
    np.testing.assert_allclose(searched, [0.45 + 0.1 + 0.75 + 0.5, 0], atol=1e-12)


def test_window_pays_for_what_the_filter_keeps() -> None:
    p = np.linspace(0, 1, 10)
    kept = (p >= 0.6) & (p <= 0.9)
    by_preset = [np.corrcoef(difficulty(p, preset), kept)[0, 1] for preset in (AgreementWindow(0.6, 0.9), "safe")]
    assert by_preset[0] > 0.6 > 0.2 > by_preset[1]


def test_sequences_must_align() -> None:
    with pytest.raises(ValueError, match="each of 2 outputs"):
        questioner_rewards([0.5, 0.5], [True], [0.0, 0.0])
