"""Any checkpoint on any benchmark: `active-zero evaluate`, and the flow that a deployment runs."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from prefect import flow

from flows.history import read_history, team_of
from tasks.benchmarks import open_benchmark
from tasks.benchmarks.metrics import own_figures, own_means
from tasks.benchmarks.statistics import Interval, clusters_of, mean_interval, wilson_of
from tasks.config import RunConfig
from tasks.evaluate import examine, judged
from tasks.players.team import Team
from tasks.records import Score
from tasks.reporting.facts import replies_of
from tasks.settings.base import Frozen
from tasks.settings.errors import UserError
from tasks.settings.seeds import seed_of
from tasks.store import Store


class BenchmarkFigures(Frozen):
    """A model's figures on some items: points (0..100), with 95 % intervals over items, or over their clusters."""

    items: int
    clusters: int
    """Items or groups of items that are independent evidence."""
    accuracy: float
    """Of the greedy answers: the plain accuracy that papers report."""
    interval: Interval
    mean: float
    """Of the samples at temperature 1: avg@k."""
    mean_interval: Interval
    majority: float
    majority_interval: Interval
    unparsed: float
    """Share of all replies without an answer, counted as wrong."""
    truncated: float
    """Share of all replies that were cut off."""
    timeouts: int
    """Answers that the grader gave up, counted as wrong."""
    judged: float | None
    """Greedy accuracy by the judge, over the items that it decided (no answer: wrong); None without a judge."""
    undecided: int
    """Answers on which the judge said neither yes nor no."""


class BenchmarkResult(BenchmarkFigures):
    """A model on a benchmark."""

    model: str
    benchmark: str
    samples: int
    own: dict[str, float]
    """The benchmark's own metric, of the greedy answers; empty where there is none."""
    own_mean: dict[str, float]
    """The same of each run of samples, averaged."""
    by_category: dict[str, BenchmarkFigures]


@flow(name="benchmark", persist_result=False)
def score_model(config: RunConfig, model: str, benchmark: str, store: str) -> list[Score]:
    """Answer every item of a benchmark greedily and by `evaluate.samples` samples. `model` as in `team_named`."""
    items = open_benchmark(benchmark).items()[: config.evaluate.items]
    with team_named(model, config, Store(store)).open(seed_of(config.seed, "evaluate")) as sampler:
        rows = examine(sampler, benchmark, items, config.evaluate.samples)
    return judged(rows, items, config.evaluate.judge)


def team_named(model: str, config: RunConfig, store: Store) -> Team:
    """A folder or hub name as the Solver; `run:NAME` the team that plays on in a run, `run:NAME@3` that of round 3."""
    named = re.fullmatch(r"run:([^@]+)(?:@(\d+))?", model)
    if named is None:
        return Team.base(config.model_copy(update={"model": model}))
    run, rounds = named[1], store.rounds(named[1])
    origin = int(named[2]) if named[2] else read_history(store, run).team_round
    if origin and origin not in rounds:
        raise UserError(f"Run {run!r} has no round {origin}; it has: {', '.join(map(str, rounds)) or 'none yet'}.")
    return team_of(config, store, run, origin)


def benchmark_result(model: str, benchmark: str, scores: Sequence[Score]) -> BenchmarkResult:
    """All items' figures, the benchmark's own, and those of each category."""
    names, metric = sorted({row.domain for row in scores}), open_benchmark(benchmark).metric
    return BenchmarkResult(
        model=model,
        benchmark=benchmark,
        samples=len(scores[0].samples),
        own=own_figures(metric, scores),
        own_mean=own_means(metric, scores),
        by_category={name: card([row for row in scores if row.domain == name]) for name in names},
        **card(scores).model_dump(),
    )


def card(scores: Sequence[Score]) -> BenchmarkFigures:
    """Figures of some items."""
    clusters, replies = clusters_of(scores), replies_of(scores)
    judged, undecided = by_judge([row.judged for row in scores])
    mean = [row.sample_accuracy for row in scores]
    greedy, majority = [row.greedy_correct for row in scores], [row.majority_correct for row in scores]
    return BenchmarkFigures(
        items=len(scores),
        clusters=len(set(clusters)),
        accuracy=100 * float(np.mean(greedy)),
        interval=_points(wilson_of(greedy, clusters)),
        mean=100 * float(np.mean(mean)),
        mean_interval=_points(mean_interval(mean, clusters)),
        majority=100 * float(np.mean(majority)),
        majority_interval=_points(wilson_of(majority, clusters)),
        unparsed=100 * replies.unparsed / replies.asked,
        truncated=100 * replies.truncated / replies.asked,
        timeouts=replies.timeouts,
        judged=judged,
        undecided=undecided,
    )


def by_judge(opinions: Sequence[bool | None]) -> tuple[float | None, int]:
    """Accuracy by the judge in points, and how many items it left undecided; None and 0 without any opinion."""
    told = [one for one in opinions if one is not None]
    return (100 * float(np.mean(told)), len(opinions) - len(told)) if told else (None, 0)


def _points(interval: Interval) -> Interval:
    return 100 * interval[0], 100 * interval[1]
