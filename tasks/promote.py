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
from dataclasses import dataclass

import numpy as np

from tasks.config import Judge, PromoteConfig
from tasks.errors import UserError
from tasks.records import Decision, Score
from tasks.stage import stage
from tasks.store import Artifact, Output, Place


def on_gate(scores: Sequence[Score], gate: str) -> dict[str, Score]:
    """The gate's rows by item."""
    return {row.id: row for row in scores if row.benchmark == gate}


def paired(before: Sequence[Score], after: Sequence[Score], gate: str) -> list[tuple[Score, Score]]:
    """The gate's items with both scores. UserError where the two were measured on different items."""
    old, new = on_gate(before, gate), on_gate(after, gate)
    if not old or old.keys() != new.keys():
        raise UserError(f"before and after were measured on different items of {gate} ({len(old)} and {len(new)}).")
    return [(old[id], new[id]) for id in old]


@dataclass(frozen=True)
class Gain:
    """A figure before and after, and the 95 % interval of the difference; all in points (0..100)."""

    before: float
    after: float
    low: float
    high: float

    def judged(self, judge: Judge) -> float:
        """What has to pass: the difference, or the lower end of its interval."""
        return self.after - self.before if judge == "estimate" else self.low


def gain(before: Sequence[float], after: Sequence[float], resamples: int, seed: int) -> Gain:
    """Paired percentile bootstrap over items, whose values are shares (0..1)."""
    old, new = np.asarray(before, np.float64) * 100, np.asarray(after, np.float64) * 100
    drawn = np.random.default_rng(seed).choice(new - old, (resamples, len(old)))
    low, high = np.percentile(drawn.mean(axis=1), (2.5, 97.5))
    return Gain(float(old.mean()), float(new.mean()), float(low), float(high))


def verdict(mean: Gain, greedy: Gain, config: PromoteConfig) -> tuple[bool, str]:
    """The rule, and in words which part of it decided."""
    what = "" if config.judge == "estimate" else "lower end of the "
    of_mean, of_greedy = mean.judged(config.judge), greedy.judged(config.judge)
    if of_mean <= config.least_mean_gain:
        return False, f"{what}gain of the mean {of_mean:+.1f} is not above {config.least_mean_gain:+.1f}"
    if of_greedy < -config.greatest_greedy_loss:
        return False, f"{what}gain of greedy {of_greedy:+.1f} is below {-config.greatest_greedy_loss:+.1f}"
    return True, f"{what}gain of the mean {of_mean:+.1f}, of greedy {of_greedy:+.1f}"


def decide(before: Sequence[Score], after: Sequence[Score], gate: str, config: PromoteConfig, seed: int) -> Decision:
    """Promote or roll back, with the evidence."""
    old, new = zip(*paired(before, after, gate), strict=True)
    mean = gain([s.sample_accuracy for s in old], [s.sample_accuracy for s in new], config.resamples, seed)
    greedy = gain([s.greedy_correct for s in old], [s.greedy_correct for s in new], config.resamples, seed)
    promoted, why = verdict(mean, greedy, config)
    return Decision(
        promoted=promoted,
        items=len(old),
        mean_before=mean.before,
        mean_after=mean.after,
        mean_low=mean.low,
        mean_high=mean.high,
        greedy_before=greedy.before,
        greedy_after=greedy.after,
        greedy_low=greedy.low,
        greedy_high=greedy.high,
        why=why,
    )


@stage("9-promote", Decision)
def promote(
    place: Place, config: PromoteConfig, before: Artifact[Score], after: Artifact[Score], gate: str, seed: int
) -> Output[Decision]:
    """One row: the decision."""
    decision = decide(before.read(), after.read(), gate, config, seed)
    return Output([decision], {"promoted": int(decision.promoted)})
