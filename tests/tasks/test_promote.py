"""The decision to promote a Solver or to roll the round back."""

from __future__ import annotations

import pytest

from tasks.config import PromoteConfig
from tasks.promote import compare_all, decide
from tasks.records import Score
from tasks.settings.errors import UserError

GATE = "world:validation"


def score(number: int, mean: float, greedy: bool, benchmark: str = GATE, cluster: str | None = None) -> Score:
    return Score(
        benchmark=benchmark, id=str(number), domain="maps", target="1", greedy="1", greedy_correct=greedy,
        samples=("1",), sample_accuracy=mean, majority_correct=greedy, cluster=cluster,
    )  # fmt: skip


def scores(means: list[float], greedy: list[bool]) -> list[Score]:
    return [score(number, *pair) for number, pair in enumerate(zip(means, greedy, strict=True))]


BEFORE = scores([0.5] * 50, [True, False] * 25)


def test_a_gain_of_the_mean_without_a_greedy_loss_is_promoted() -> None:
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
    assert not decide(BEFORE, after, GATE, PromoteConfig(criterion="lower end", least_mean_gain=2.0), seed=0).promoted


def test_reported_benchmarks_do_not_decide() -> None:
    reported = [score(number, 0.0, False, "world:heldout") for number in range(500)]
    after = scores([0.6] * 50, [True, False] * 25)
    assert decide(BEFORE, [*after, *reported], GATE, PromoteConfig(), seed=0).items == 50
    assert decide(BEFORE, [*after, *reported], GATE, PromoteConfig(), seed=0).promoted


def test_scores_of_different_items_cannot_be_compared() -> None:
    with pytest.raises(UserError, match="different items"):
        decide(BEFORE, BEFORE[:-1], GATE, PromoteConfig(), seed=0)
    with pytest.raises(UserError, match="different items"):
        decide([], [], GATE, PromoteConfig(), seed=0)


def test_pairing_does_not_depend_on_the_order_of_items() -> None:
    after = scores([n / 50 for n in range(50)], [True, False] * 25)
    assert decide(BEFORE, after, GATE, PromoteConfig(), 0) == decide(BEFORE, after[::-1], GATE, PromoteConfig(), 0)


def test_the_decision_has_mcnemars_test_of_greedy_answers() -> None:
    after = scores([0.6] * 50, [True] * 48 + [False, False])
    decision = decide(BEFORE, after, GATE, PromoteConfig(), seed=0)
    assert (decision.greedy_won, decision.greedy_lost, decision.clusters) == (24, 1, 50)
    assert decision.greedy_p == pytest.approx(2 * 26 / 2**25)


def test_dependent_items_are_one_piece_of_evidence() -> None:
    """A gain on three of four seed questions with ten variants each is no sure gain, though it is one of 30 items."""

    def variants(right: list[bool], clustered: bool) -> list[Score]:
        return [
            score(10 * seed + i, float(one), one, cluster=str(seed) if clustered else None)
            for seed, one in enumerate(right)
            for i in range(10)
        ]

    before, after, sure = (
        [False] * 4,
        [True, True, True, False],
        PromoteConfig(criterion="lower end", least_mean_gain=40),
    )
    alone = decide(variants(before, False), variants(after, False), GATE, sure, seed=0)
    together = decide(variants(before, True), variants(after, True), GATE, sure, seed=0)
    assert (alone.clusters, together.clusters) == (40, 4)
    assert alone.mean_after == together.mean_after == 75
    assert together.mean_low < 40 < alone.mean_low
    assert alone.promoted
    assert not together.promoted


def test_benchmarks_are_compared_without_mixing_their_clusters() -> None:
    reported = [score(number, 0.5, True, "mathverse", "p1") for number in range(5)]
    comparisons = compare_all([*BEFORE, *reported], [*BEFORE, *reported], resamples=100, seed=0)
    assert {name: (each.items, each.clusters) for name, each in comparisons.items()} == {
        GATE: (50, 50),
        "mathverse": (5, 1),
    }
