"""Score any model on any benchmark, for `active-zero evaluate` and for the deployment `benchmark`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from prefect import flow

from flows.history import read_history, team_of
from tasks.benchmarks import Benchmark, open_benchmark
from tasks.benchmarks.metrics import metric_figures, metric_means
from tasks.benchmarks.statistics import Interval, clustered_wilson, clusters_of, mean_interval
from tasks.config import RunConfig
from tasks.evaluate import add_judgements, score_items
from tasks.execution.gpu_slots import gpu_slots, using_gpus
from tasks.players.team import Team
from tasks.records import Score
from tasks.reporting.facts import replies_of
from tasks.roles import solver
from tasks.settings.base import Frozen
from tasks.settings.errors import UserError
from tasks.settings.seeds import seed_of
from tasks.store import Store


class BenchmarkFigures(Frozen):
    """A model's figures on some items, in points (0..100), with 95 % intervals over clusters of dependent items."""

    items: int
    clusters: int
    """Independent units: groups of dependent items, and single items."""
    accuracy: float
    """Accuracy of the greedy answers: the plain accuracy that papers report."""
    interval: Interval
    """Interval of `accuracy`."""
    mean: float
    """Mean accuracy of the samples at temperature 1: avg@k."""
    mean_interval: Interval
    majority: float
    """Accuracy of the samples' majority answer."""
    majority_interval: Interval
    unparsed: float
    """Share of all replies without an answer, counted as wrong."""
    truncated: float
    """Share of all replies that were cut off."""
    timeouts: int
    """Answers on which the grader ran out of time, counted as wrong."""
    judged: float | None
    """Greedy accuracy by the LLM judge, over the items that it decided (no answer: wrong); None without a judge."""
    undecided: int
    """Answers on which the judge replied neither yes nor no."""


class BenchmarkResult(BenchmarkFigures):
    """A model's figures on a benchmark, in total and by category."""

    model: str
    benchmark: str
    samples: int
    own_metric: dict[str, float]
    """The metric of the benchmark's authors, of the greedy answers; empty if it is plain accuracy."""
    own_metric_mean: dict[str, float]
    """The same metric, averaged over the samples."""
    by_category: dict[str, BenchmarkFigures]
    left_out: dict[str, int]
    """Rows of the benchmark that cannot be asked, by reason."""


@flow(name="evaluate", persist_result=False)
def score_model(config: RunConfig, model: str, benchmark: str, store: str) -> list[Score]:
    """Answer each item greedily and with `evaluate.samples` samples. `model` as in `team_named`; `store` is a URL."""
    items = open_benchmark(benchmark).read().items[: config.evaluate.items]
    team, seed = team_named(model, config, Store(store)), seed_of(config.seed, "evaluate")
    with using_gpus(config.cluster_gpus), gpu_slots(), team.open(seed) as sampler:
        rows = score_items(sampler, benchmark, items, config.evaluate.samples)
    return add_judgements(rows, items, config.evaluate.judge)


def team_named(model: str, config: RunConfig, store: Store) -> Team:
    """The team whose Solver is scored: a model folder or hub name, `run:NAME` (the run's current team), or
    `run:NAME@3` (the team of its round 3). UserError for a round that the run does not have."""
    match = re.fullmatch(r"run:([^@]+)(?:@(\d+))?", model)
    if match is None:
        return Team.base(config.model_copy(update={"model": model}))
    run, rounds = match[1], store.rounds(match[1])
    number = int(match[2]) if match[2] else read_history(store, run).team_round
    if number and number not in rounds:
        raise UserError(f"Run {run!r} has no round {number}; it has: {', '.join(map(str, rounds)) or 'none yet'}.")
    return team_of(config, store, run, number)


def as_asked(config: RunConfig, benchmark: str, count: int) -> list[str]:
    """The first items of a benchmark as the Solver is asked them, each with its right answer."""
    template = config.prompts.solver
    return [
        f"--- {item.id} ({item.picture.image.width} x {item.picture.image.height} pixels), right: {item.target}\n"
        + solver.prompt(template, item.question, item.kind).user
        for item in open_benchmark(benchmark).read().items[:count]
    ]


def benchmark_result(model: str, name: str, scores: Sequence[Score]) -> BenchmarkResult:
    """All figures of a model on the benchmark of that name."""
    benchmark: Benchmark = open_benchmark(name)
    categories = sorted({row.domain for row in scores})
    return BenchmarkResult(
        model=model,
        benchmark=name,
        samples=len(scores[0].samples),
        left_out=dict(Counter(row.kind for row in benchmark.read().rejected)),
        own_metric=metric_figures(benchmark.metric, scores),
        own_metric_mean=metric_means(benchmark.metric, scores),
        by_category={
            category: figures_of([row for row in scores if row.domain == category]) for category in categories
        },
        **figures_of(scores).model_dump(),
    )


def figures_of(scores: Sequence[Score]) -> BenchmarkFigures:
    """The figures of some items."""
    clusters, replies = clusters_of(scores), replies_of(scores)
    judged, undecided = judged_accuracy([row.judged for row in scores])
    mean = [row.sample_accuracy for row in scores]
    greedy, majority = [row.greedy_correct for row in scores], [row.majority_correct for row in scores]
    return BenchmarkFigures(
        items=len(scores),
        clusters=len(set(clusters)),
        accuracy=100 * float(np.mean(greedy)),
        interval=_points(clustered_wilson(greedy, clusters)),
        mean=100 * float(np.mean(mean)),
        mean_interval=_points(mean_interval(mean, clusters)),
        majority=100 * float(np.mean(majority)),
        majority_interval=_points(clustered_wilson(majority, clusters)),
        unparsed=100 * replies.unparsed / replies.total,
        truncated=100 * replies.truncated / replies.total,
        timeouts=replies.timeouts,
        judged=judged,
        undecided=undecided,
    )


def judged_accuracy(verdicts: Sequence[bool | None]) -> tuple[float | None, int]:
    """Accuracy in points by the LLM judge, and the number of undecided items; None and 0 without any verdict."""
    decided = [verdict for verdict in verdicts if verdict is not None]
    return (100 * float(np.mean(decided)), len(verdicts) - len(decided)) if decided else (None, 0)


def _points(interval: Interval) -> Interval:
    return 100 * interval[0], 100 * interval[1]
