"""9: the new Solver takes the old one's place, or the round is rolled back.

Decided on the gate's items (`evaluate.gate`), never on what is reported as held out: a set that decides over rounds is
no longer held out. Items are paired, so the bootstrap resamples items, each with its before and after.

The rule: the mean of the samples must gain more than `least_mean_gain`, and greedy accuracy must not fall by more than
`greatest_greedy_loss`; both by the estimate or by the lower end of the 95 % interval (`judge`).

A rolled-back round takes its Searcher and Questioner back too. They were trained towards the Solver that stays, so they
would still fit; but the only evidence about them is the curriculum that they made, and it did not teach. The next round
starts from the last team that passed, with other seeds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.config import PromoteConfig
from tasks.errors import UserError
from tasks.records import Decision, Score
from tasks.stage import stage
from tasks.store import Artifact, Output, Place

Points = NDArray[np.float64]
"""One value an item, in points (0..100)."""


def on_gate(scores: Sequence[Score], gate: str) -> dict[str, Score]:
    """The gate's rows by item."""
    return {row.id: row for row in scores if row.benchmark == gate}


def paired(before: Sequence[Score], after: Sequence[Score], gate: str) -> list[tuple[Score, Score]]:
    """The gate's items with both scores. UserError where the two were measured on different items."""
    old, new = on_gate(before, gate), on_gate(after, gate)
    if not old or old.keys() != new.keys():
        raise UserError(f"before and after were measured on different items of {gate} ({len(old)} and {len(new)}).")
    return [(old[id], new[id]) for id in old]


def interval(gains: Points, resamples: int, seed: int) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean gain, items resampled."""
    drawn = np.random.default_rng(seed).choice(gains, (resamples, len(gains)))
    low, high = np.percentile(drawn.mean(axis=1), (2.5, 97.5))
    return float(low), float(high)


def decide(before: Sequence[Score], after: Sequence[Score], gate: str, config: PromoteConfig, seed: int) -> Decision:
    """Promote or roll back, with the evidence."""
    pairs = paired(before, after, gate)
    means = np.array([(old.sample_accuracy, new.sample_accuracy) for old, new in pairs]) * 100
    greedy = np.array([(old.greedy_correct, new.greedy_correct) for old, new in pairs]) * 100.0
    mean_low, mean_high = interval(means[:, 1] - means[:, 0], config.resamples, seed)
    greedy_low, greedy_high = interval(greedy[:, 1] - greedy[:, 0], config.resamples, seed)
    mean_before, mean_after = means.mean(axis=0)
    greedy_before, greedy_after = greedy.mean(axis=0)
    by_estimate = config.judge == "estimate"
    mean_gain = mean_after - mean_before if by_estimate else mean_low
    greedy_gain = greedy_after - greedy_before if by_estimate else greedy_low
    promoted, why = verdict(mean_gain, greedy_gain, config)
    return Decision(
        promoted=promoted,
        items=len(pairs),
        mean_before=mean_before,
        mean_after=mean_after,
        mean_low=mean_low,
        mean_high=mean_high,
        greedy_before=greedy_before,
        greedy_after=greedy_after,
        greedy_low=greedy_low,
        greedy_high=greedy_high,
        why=why,
    )


def verdict(mean_gain: float, greedy_gain: float, config: PromoteConfig) -> tuple[bool, str]:
    """The rule, and in words which part of it decided. Gains in points."""
    what = "" if config.judge == "estimate" else "lower end of the "
    if mean_gain <= config.least_mean_gain:
        return False, f"{what}gain of the mean {mean_gain:+.1f} is not above {config.least_mean_gain:+.1f}"
    if greedy_gain < -config.greatest_greedy_loss:
        return False, f"{what}gain of greedy {greedy_gain:+.1f} is below {-config.greatest_greedy_loss:+.1f}"
    return True, f"{what}gain of the mean {mean_gain:+.1f}, of greedy {greedy_gain:+.1f}"


@stage("9-promote", Decision)
def promote(
    place: Place, config: PromoteConfig, before: Artifact[Score], after: Artifact[Score], gate: str, seed: int
) -> Output[Decision]:
    """One row: the decision."""
    decision = decide(before.read(), after.read(), gate, config, seed)
    return Output([decision], {"promoted": int(decision.promoted)})
