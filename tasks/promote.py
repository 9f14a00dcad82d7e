"""9: the new Solver takes the old one's place, or the round is rolled back.

Decided on the gate's items (`evaluate.gate`), never on what is reported as held out: a set that decides over rounds is
no longer held out. Items are paired, so the bootstrap resamples items (or clusters of items that are no independent
evidence), each with its before and after.

The rule: the mean of the samples must gain more than `least_mean_gain`, and greedy accuracy must not fall by more than
`greatest_greedy_loss`; both by the estimate or by the lower end of the 95 % interval (`criterion`).

A rolled-back round takes its Searcher and Questioner back too. They were trained towards the Solver that stays, so they
would still fit; but the only evidence about them is the curriculum that they made, and it did not teach. The next round
starts from the last team that passed, with other seeds.
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


def on_gate(scores: Sequence[Score], gate: str) -> dict[str, Score]:
    """The gate's rows by item."""
    return {row.id: row for row in scores if row.benchmark == gate}


def paired(before: Sequence[Score], after: Sequence[Score], gate: str) -> list[tuple[Score, Score]]:
    """The gate's items with both scores. UserError where the two were measured on different items."""
    old, new = on_gate(before, gate), on_gate(after, gate)
    if not old or old.keys() != new.keys():
        raise UserError(f"before and after were measured on different items of {gate} ({len(old)} and {len(new)}).")
    return [(old[id], new[id]) for id in old]


def verdict(mean: Gain, greedy: Gain, config: PromoteConfig) -> tuple[bool, str]:
    """The rule, and in words which part of it decided."""
    what = "" if config.criterion == "estimate" else "lower end of the "
    of_mean, of_greedy = mean.value(config.criterion), greedy.value(config.criterion)
    if of_mean <= config.least_mean_gain:
        return False, f"{what}gain of the mean {of_mean:+.1f} is not above {config.least_mean_gain:+.1f}"
    if of_greedy < -config.greatest_greedy_loss:
        return False, f"{what}gain of greedy {of_greedy:+.1f} is below {-config.greatest_greedy_loss:+.1f}"
    return True, f"{what}gain of the mean {of_mean:+.1f}, of greedy {of_greedy:+.1f}"


@dataclass(frozen=True)
class Comparison:
    """Two Solvers on the same items."""

    items: int
    clusters: int
    mean: Gain
    """Of the samples (avg@k)."""
    greedy: Gain
    test: McNemar
    """Of the greedy answers."""


def compare(pairs: Sequence[tuple[Score, Score]], resamples: int, seed: int) -> Comparison:
    """Paired differences over items, or over their clusters where they have such."""
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
    """Every benchmark that was measured after, by name. UserError where its items differ."""
    names = dict.fromkeys(row.benchmark for row in after)
    return {name: compare(paired(before, after, name), resamples, seed) for name in names}


def decide(before: Sequence[Score], after: Sequence[Score], gate: str, config: PromoteConfig, seed: int) -> Decision:
    """Promote or roll back, with the evidence."""
    told = compare(paired(before, after, gate), config.resamples, seed)
    promoted, why = verdict(told.mean, told.greedy, config)
    return Decision(
        promoted=promoted,
        items=told.items,
        mean_before=told.mean.before,
        mean_after=told.mean.after,
        mean_low=told.mean.low,
        mean_high=told.mean.high,
        greedy_before=told.greedy.before,
        greedy_after=told.greedy.after,
        greedy_low=told.greedy.low,
        greedy_high=told.greedy.high,
        why=why,
        clusters=told.clusters,
        greedy_won=told.test.won,
        greedy_lost=told.test.lost,
        greedy_p=told.test.p,
    )


@stage("promote", Decision, version=2)
def promote(
    place: Place, config: PromoteConfig, before: Artifact[Score], after: Artifact[Score], gate: str, seed: int
) -> Output[Decision]:
    """One row: the decision."""
    decision = decide(before.read(), after.read(), gate, config, seed)
    return Output([decision], {"promoted": int(decision.promoted)})
