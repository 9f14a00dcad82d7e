"""What each stage of a round samples and trains, counted from the settings.

With D domains and the settings' names:

| stage | completions | known |
|---|---|---|
| probe | a question about each of D x probe.pictures pictures, probe.answers answers to each | at most |
| train-searcher | rollouts: steps x prompts x rollouts | exactly |
| | a question about each rollout's picture, rewards.answers answers to each | at most |
| search | search.queries queries | exactly |
| train-questioner | rollouts: steps x prompts x rollouts; rewards.answers answers to each | exactly; at most |
| synthesize | synthesize.questions about each picture of the pool: search.queries x search.top_k | at most |
| filter | filter.answers to each question and gold item; leakage.blind_answers to each question | at most |
| train-solver | rollouts: steps x prompts x rollouts | exactly without `passes` |
| evaluate | evaluate.samples + 1 answers to each item, for each team | exactly |

Unknown before a round are pictures that two queries find, texts that are rejected or alike, votes that end early, and
the share that the filter keeps. Each makes the work smaller, so a count is an upper bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.benchmarks import WorldBenchmark, open_benchmark
from tasks.config import RunConfig
from tasks.memory.work import trainer_of

PUBLISHED_ITEMS = {
    "dynamath": 5010,
    "hallusionbench": 1129,
    "logicvista": 448,
    "mathverse": 3940,
    "mathvision": 3040,
    "mathvista": 1000,
    "mmmu": 900,
    "mmmu-pro": 3460,
    "mmstar": 1500,
    "realworldqa": 765,
    "visnumbench": 1913,
    "we-math": 1740,
}
"""Items of the published splits, for a machine without the files; at most, since some rows cannot be asked, and
MathVerse has a file of 788 items too."""


@dataclass(frozen=True)
class Completions:
    """Completions of a frozen role in one stage."""

    role: str
    requests: int
    """Distinct prompts, each read once for all of its completions."""
    completions: int
    exact: bool = False
    """Whether the counts follow from the settings alone; else they are upper bounds."""
    batches: int = 1
    """Batches that are sampled one after another: one for each step of a training."""
    blind: bool = False
    """Without the picture."""


@dataclass(frozen=True)
class Rollouts:
    """Rollouts of the role in training."""

    role: str
    steps: int
    prompts: int
    """Prompts a step."""
    n: int
    """Rollouts of a prompt."""
    exact: bool = True

    @property
    def total(self) -> int:
        """Rollouts of all steps."""
        return self.steps * self.prompts * self.n


@dataclass(frozen=True)
class StageCounts:
    """What one stage asks of the models."""

    stage: str
    completions: tuple[Completions, ...] = ()
    rollouts: Rollouts | None = None

    @property
    def exact(self) -> bool:
        """Whether nothing is an upper bound."""
        rollouts = self.rollouts is None or self.rollouts.exact
        return rollouts and all(sampled.exact for sampled in self.completions)

    @property
    def requests(self) -> int:
        """Prompts of frozen roles."""
        return sum(sampled.requests for sampled in self.completions)

    @property
    def sampled(self) -> int:
        """Completions of frozen roles."""
        return sum(sampled.completions for sampled in self.completions)


def round_counts(config: RunConfig, teams: int) -> list[StageCounts]:
    """The counts of the eight stages with models, in order. `teams`: the Solvers that the round evaluates."""
    return [
        _probe(config),
        _train_searcher(config),
        _search(config),
        _train_questioner(config),
        StageCounts("synthesize", (Completions("questioner", _pool(config), _questions(config)),)),
        _filter(config),
        StageCounts("train-solver", (), _rollouts(config, "solver", _questions(config))),
        StageCounts("evaluate", tuple(_evaluate(config, teams))),
    ]


def _probe(config: RunConfig) -> StageCounts:
    asked = len(config.domains) * config.probe.pictures
    questions, answers = (
        Completions("questioner", asked, asked),
        Completions("solver", asked, asked * config.probe.answers),
    )
    return StageCounts("probe", (questions, answers))


def _train_searcher(config: RunConfig) -> StageCounts:
    trainer = trainer_of(config, "searcher")
    rollouts = _rollouts(config, "searcher", trainer.steps * trainer.prompts)
    questions = Completions("questioner", rollouts.total, rollouts.total, batches=rollouts.steps)
    return StageCounts("train-searcher", (questions, _reward_answers(config, rollouts)), rollouts)


def _train_questioner(config: RunConfig) -> StageCounts:
    rollouts = _rollouts(config, "questioner", _pool(config))
    return StageCounts("train-questioner", (_reward_answers(config, rollouts),), rollouts)


def _reward_answers(config: RunConfig, rollouts: Rollouts) -> Completions:
    """The frozen Solver's answers to the question of each rollout."""
    return Completions("solver", rollouts.total, rollouts.total * config.rewards.answers, batches=rollouts.steps)


def _rollouts(config: RunConfig, role: str, examples: int) -> Rollouts:
    """Rollouts on at most so many examples. Only `passes` makes the steps depend on their number."""
    trainer = trainer_of(config, role)
    known = trainer.passes is None or role == "searcher"
    return Rollouts(role, trainer.steps_for(examples), trainer.prompts, trainer.rollouts, exact=known)


def _search(config: RunConfig) -> StageCounts:
    """Every domain's queries are completions of one prompt."""
    queries = config.search.queries
    return StageCounts("search", (Completions("searcher", min(len(config.domains), queries), queries, exact=True),))


def _pool(config: RunConfig) -> int:
    """Pictures of the pool."""
    return config.search.queries * config.search.top_k


def _questions(config: RunConfig) -> int:
    """Questions about the pool."""
    return _pool(config) * config.synthesize.questions


def _filter(config: RunConfig) -> StageCounts:
    questions, gold, blind = _questions(config), config.filter.gold, config.filter.leakage.blind_answers
    items = min(math.ceil(gold.share / (1 - gold.share) * questions), items_of(gold.source)) if gold else 0
    asked = questions + items
    answers = Completions("solver", asked, asked * config.filter.answers)
    unseen = (Completions("solver", questions, questions * blind, blind=True),) if blind else ()
    return StageCounts("filter", (answers, *unseen))


def _evaluate(config: RunConfig, teams: int) -> Iterator[Completions]:
    """Each item is asked twice: for the greedy answer, and for the samples."""
    for name in config.evaluate.benchmarks:
        found = items_of(name)
        items = teams * min(found, config.evaluate.items or found)
        exact = name not in PUBLISHED_ITEMS
        yield Completions("solver", 2 * items, items * (config.evaluate.samples + 1), exact)


def items_of(name: str) -> int:
    """Items of a benchmark. UserError for a name that is no benchmark, or a file that is not there."""
    if name in PUBLISHED_ITEMS:
        return PUBLISHED_ITEMS[name]
    benchmark = open_benchmark(name)
    return benchmark.count if isinstance(benchmark, WorldBenchmark) else len(benchmark.read().items)
