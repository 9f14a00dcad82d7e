"""Promote or roll back."""

from __future__ import annotations

import pytest

from tasks.config import PromoteConfig
from tasks.errors import UserError
from tasks.promote import decide
from tasks.records import Score

GATE = "world:validation"


def score(number: int, mean: float, greedy: bool, benchmark: str = GATE) -> Score:
    return Score(
        benchmark=benchmark, id=str(number), domain="maps", target="1", greedy="1", greedy_correct=greedy,
        samples=("1",), sample_accuracy=mean, majority_correct=greedy,
    )  # fmt: skip


def scores(means: list[float], greedy: list[bool]) -> list[Score]:
    return [score(number, *pair) for number, pair in enumerate(zip(means, greedy, strict=True))]


BEFORE = scores([0.5] * 50, [True, False] * 25)


def test_a_gain_of_the_mean_that_costs_no_greedy_accuracy_is_promoted() -> None:
    decision = decide(BEFORE, scores([0.6] * 50, [True, False] * 25), GATE, PromoteConfig(), seed=0)
    assert decision.promoted
    assert decision.items == 50
    assert (decision.mean_before, decision.mean_after) == (pytest.approx(50), pytest.approx(60))


def test_a_gain_that_costs_greedy_accuracy_is_rolled_back() -> None:
    decision = decide(BEFORE, scores([0.6] * 50, [False] * 50), GATE, PromoteConfig(), seed=0)
    assert not decision.promoted
    assert "greedy" in decision.why


def test_the_same_solver_is_not_promoted() -> None:
    decision = decide(BEFORE, BEFORE, GATE, PromoteConfig(), seed=0)
    assert not decision.promoted
    assert (decision.mean_low, decision.mean_high) == (0, 0)


def test_by_the_lower_end_a_gain_within_the_noise_is_rolled_back() -> None:
    after = scores([0.6, 0.45] * 25, [True, False] * 25)
    assert decide(BEFORE, after, GATE, PromoteConfig(), seed=0).promoted
    assert not decide(BEFORE, after, GATE, PromoteConfig(judge="lower end", least_mean_gain=2.0), seed=0).promoted


def test_what_is_only_reported_does_not_decide() -> None:
    reported = [score(number, 0.0, False, "world:heldout") for number in range(500)]
    after = scores([0.6] * 50, [True, False] * 25)
    assert decide(BEFORE, [*after, *reported], GATE, PromoteConfig(), seed=0).items == 50
    assert decide(BEFORE, [*after, *reported], GATE, PromoteConfig(), seed=0).promoted


def test_scores_of_different_items_cannot_be_compared() -> None:
    with pytest.raises(UserError, match="different items"):
        decide(BEFORE, BEFORE[:-1], GATE, PromoteConfig(), seed=0)
    with pytest.raises(UserError, match="different items"):
        decide([], [], GATE, PromoteConfig(), seed=0)


def test_the_order_of_items_does_not_matter_to_the_pairing() -> None:
    after = scores([n / 50 for n in range(50)], [True, False] * 25)
    assert decide(BEFORE, after, GATE, PromoteConfig(), 0) == decide(BEFORE, after[::-1], GATE, PromoteConfig(), 0)
