"""Promote the new Solver, or roll the round back.

The gate's items (`evaluate.gate`) decide, never those of the reported benchmarks: a set that decides over rounds is no
longer held out. Items are paired: the bootstrap resamples items (or clusters of dependent items), each with its scores
before and after the round.

The rule: the mean accuracy of the samples must gain more than `least_mean_gain`, and greedy accuracy must not fall by
more than `greatest_greedy_loss`; both by the estimate or by the lower end of the 95 % interval (`criterion`).

A roll-back also discards the round's Searcher and Questioner. They were trained against the Solver that stays, but the
only evidence about them is the curriculum that they made, and it did not teach. The next round starts from the last
promoted team, with other seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.benchmarks.statistics import Gain, McNemar, clusters_of, gain, mcnemar
from tasks.config import PromoteConfig
from tasks.execution.stage import stage
from tasks.records import Decision, Score
from tasks.settings.errors import UserError
from tasks.store import Artifact, Output, Place


def by_item(scores: Sequence[Score], benchmark: str) -> dict[str, Score]:
    """The rows of one benchmark by item id."""
    return {row.id: row for row in scores if row.benchmark == benchmark}


def paired(before: Sequence[Score], after: Sequence[Score], benchmark: str) -> list[tuple[Score, Score]]:
    """(before, after) of each item of one benchmark. UserError if the two have different items."""
    old, new = by_item(before, benchmark), by_item(after, benchmark)
    if not old or old.keys() != new.keys():
        raise UserError(f"before and after have different items of {benchmark} ({len(old)} and {len(new)}).")
    return [(old[id], new[id]) for id in old]


def apply_rule(mean: Gain, greedy: Gain, config: PromoteConfig) -> tuple[bool, str]:
    """Whether to promote, and the reason in words."""
    what = "" if config.criterion == "estimate" else "lower end of the "
    mean_gain, greedy_gain = mean.value(config.criterion), greedy.value(config.criterion)
    if mean_gain <= config.least_mean_gain:
        return False, f"{what}gain of the mean {mean_gain:+.1f} is not above {config.least_mean_gain:+.1f}"
    if greedy_gain < -config.greatest_greedy_loss:
        return False, f"{what}gain of greedy {greedy_gain:+.1f} is below {-config.greatest_greedy_loss:+.1f}"
    return True, f"{what}gain of the mean {mean_gain:+.1f}, of greedy {greedy_gain:+.1f}"


@dataclass(frozen=True)
class Comparison:
    """The scores of two Solvers on the same items."""

    items: int
    clusters: int
    """Independent units among the items."""
    mean: Gain
    """Gain of the samples' mean accuracy (avg@k)."""
    greedy: Gain
    """Gain of greedy accuracy."""
    test: McNemar
    """McNemar test of the greedy answers."""


def compare(pairs: Sequence[tuple[Score, Score]], resamples: int, seed: int) -> Comparison:
    """Paired differences over items, or over clusters of items where the benchmark has them."""
    old, new = zip(*pairs, strict=True)
    clusters = clusters_of(old)
    return Comparison(
        items=len(old),
        clusters=len(set(clusters)),
        mean=gain([s.sample_accuracy for s in old], [s.sample_accuracy for s in new], resamples, seed, clusters),
        greedy=gain([s.greedy_correct for s in old], [s.greedy_correct for s in new], resamples, seed, clusters),
        test=mcnemar([s.greedy_correct for s in old], [s.greedy_correct for s in new]),
    )


def compare_all(before: Sequence[Score], after: Sequence[Score], resamples: int, seed: int) -> dict[str, Comparison]:
    """The comparison on every benchmark of `after`, by name. UserError where the items differ."""
    names = dict.fromkeys(row.benchmark for row in after)
    return {name: compare(paired(before, after, name), resamples, seed) for name in names}


def decide(before: Sequence[Score], after: Sequence[Score], gate: str, config: PromoteConfig, seed: int) -> Decision:
    """The decision to promote or to roll back, with its evidence."""
    comparison = compare(paired(before, after, gate), config.resamples, seed)
    promoted, why = apply_rule(comparison.mean, comparison.greedy, config)
    return Decision(
        promoted=promoted,
        items=comparison.items,
        mean_before=comparison.mean.before,
        mean_after=comparison.mean.after,
        mean_low=comparison.mean.low,
        mean_high=comparison.mean.high,
        greedy_before=comparison.greedy.before,
        greedy_after=comparison.greedy.after,
        greedy_low=comparison.greedy.low,
        greedy_high=comparison.greedy.high,
        why=why,
        clusters=comparison.clusters,
        greedy_won=comparison.test.won,
        greedy_lost=comparison.test.lost,
        greedy_p=comparison.test.p,
    )


@stage("promote", Decision, version=2)
def promote(
    place: Place, config: PromoteConfig, before: Artifact[Score], after: Artifact[Score], gate: str, seed: int
) -> Output[Decision]:
    """One row: the decision."""
    decision = decide(before.read(), after.read(), gate, config, seed)
    return Output([decision], {"promoted": int(decision.promoted)})
