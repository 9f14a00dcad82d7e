"""Any checkpoint on any benchmark: `active-zero evaluate`, and the flow that a deployment runs."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from prefect import flow
from pydantic import BaseModel, ConfigDict

from tasks.benchmarks import open_benchmark
from tasks.config import RunConfig
from tasks.errors import UserError
from tasks.evaluate import examine
from tasks.promote import gain
from tasks.records import Score
from tasks.reporting.facts import wilson
from tasks.standing import standing, team_of
from tasks.store import Store
from tasks.team import Team, seed_of

RESAMPLES = 2000

Interval = tuple[float, float]


class Card(BaseModel):
    """A model's figures on some items, in points (0..100), with their 95 % intervals over items."""

    model_config = ConfigDict(frozen=True)

    items: int
    mean: float
    """Of the samples at temperature 1."""
    mean_interval: Interval
    greedy: float
    greedy_interval: Interval
    majority: float
    majority_interval: Interval


class Scorecard(Card):
    """A model on a benchmark."""

    model: str
    benchmark: str
    samples: int
    domains: dict[str, Card]


@flow(name="benchmark", persist_result=False)
def score_model(config: RunConfig, model: str, benchmark: str, store: str) -> list[Score]:
    """Answer every item of a benchmark greedily and by `evaluate.samples` samples. `model` as in `team_named`."""
    items = open_benchmark(benchmark).items()[: config.evaluate.items]
    with team_named(model, config, Store(store)).open(seed_of(config.seed, "evaluate")) as cast:
        return examine(cast, benchmark, items, config.evaluate.samples)


def team_named(model: str, config: RunConfig, store: Store) -> Team:
    """A folder or hub name as the Solver; `run:NAME` the team that plays on in a run, `run:NAME@3` that of round 3."""
    named = re.fullmatch(r"run:([^@]+)(?:@(\d+))?", model)
    if named is None:
        return Team.base(config.model_copy(update={"model": model}))
    run, rounds = named[1], store.rounds(named[1])
    origin = int(named[2]) if named[2] else standing(store, run).origin
    if origin and origin not in rounds:
        raise UserError(f"Run {run!r} has no round {origin}; it has: {', '.join(map(str, rounds)) or 'none yet'}.")
    return team_of(config, store, run, origin)


def scorecard(model: str, benchmark: str, scores: Sequence[Score]) -> Scorecard:
    """All items' figures, and those of each domain."""
    domains = {name: [row for row in scores if row.domain == name] for name in sorted({row.domain for row in scores})}
    return Scorecard(
        model=model,
        benchmark=benchmark,
        samples=len(scores[0].samples),
        domains={name: card(rows) for name, rows in domains.items()},
        **card(scores).model_dump(),
    )


def card(scores: Sequence[Score]) -> Card:
    """Figures of some items."""
    mean = [row.sample_accuracy for row in scores]
    against_none = gain([0.0] * len(mean), mean, RESAMPLES, seed=0)
    greedy, majority = sum(row.greedy_correct for row in scores), sum(row.majority_correct for row in scores)
    return Card(
        items=len(scores),
        mean=100 * float(np.mean(mean)),
        mean_interval=(against_none.low, against_none.high),
        greedy=100 * greedy / len(scores),
        greedy_interval=_points(wilson(greedy, len(scores))),
        majority=100 * majority / len(scores),
        majority_interval=_points(wilson(majority, len(scores))),
    )


def _points(interval: Interval) -> Interval:
    return 100 * interval[0], 100 * interval[1]
