"""One run's settings: frozen, typed, checked as a whole before anything runs.

`load_config("configs/tiny.yaml", ["filter.low=0.4"])` reads a file, what it extends, and the overrides.
Fields marked `NotFingerprinted` say only where or how fast something runs; they are no part of any fingerprint.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tasks.benchmarks.judge import JudgeConfig
from tasks.benchmarks.statistics import Criterion
from tasks.corpora import CorpusConfig
from tasks.engines import EngineConfig
from tasks.engines.request import Sampling
from tasks.retrieval.searchable_corpus import RetrievalConfig
from tasks.rewards import Preset
from tasks.roles.questioner import QuestionerTemplate
from tasks.roles.searcher import Domain, SearcherTemplate
from tasks.roles.solver import SolverTemplate
from tasks.settings.addresses import Address, without_secrets
from tasks.settings.base import Settings
from tasks.settings.fingerprint import NotFingerprinted
from tasks.settings.overlay import find, override, read, validated
from tasks.trainers import TrainerConfig

DEFAULT = "tiny.yaml"

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Draw(Settings):
    """How completions are drawn from a model's distribution."""

    temperature: float = Field(1.0, ge=0, le=5)
    """0 is greedy."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Share of the probability mass to draw from."""
    top_k: int = Field(0, ge=0)
    """How many of the likeliest tokens to draw from; 0 for all."""

    def sampling(self, max_tokens: int) -> Sampling:
        """For replies of at most `max_tokens`."""
        return Sampling(max_tokens, self.temperature, self.top_p, self.top_k)


class EarlyStopping(Settings):
    """Sequential sampling: answers come a few at a time, until they settle the question (see `tasks.labelling`)."""

    first: Count = 4
    """Answers before the first look."""
    more: Count = 2
    """Answers between two looks."""
    tolerance: Share = 0.0
    """What may be guessed. In the filter: the greatest chance that all answers would decide otherwise, 0 guessing
    nothing. For a reward: the standard deviation of the difficulty that all answers would give."""

    def of(self, n: int) -> Iterator[tuple[int, int]]:
        """(number of the first answer, answers) of each look at n answers."""
        edges = [0, *range(min(self.first, n), n, self.more), n]
        return ((start, stop - start) for start, stop in pairwise(edges))


class PromptTemplates(Settings):
    """What each role is asked."""

    searcher: SearcherTemplate
    questioner: QuestionerTemplate
    solver: SolverTemplate


class CorpusSettings(Settings):
    """The pictures of the open web, as far as this run knows it."""

    at: Annotated[Address, Field(min_length=1), NotFingerprinted]
    """Where it is built: a name below the store's `corpora/`, or the address that `corpus build --out` was given."""
    source: CorpusConfig | None = None
    """What it is built from, as far as it is not built already; null takes what is there."""
    at_once: Annotated[int, Field(ge=1), NotFingerprinted] = 2
    """Shards that are read and embedded at a time; on a Ray cluster, as many as it has processors or GPUs."""


class ProbeConfig(Settings):
    """1: where is the Solver uncertain?"""

    pictures: Count = 8
    """Pictures a domain, found by the domain's own words."""
    answers: int = Field(8, ge=2)
    """Solver answers a question."""
    draw: Draw = Draw()
    """How questions and answers are drawn."""
    smoothing: Share = 0.5
    """Share of the weight that is spread evenly: 1 ignores the frontier."""
    resamples: int = Field(1000, ge=100)
    """Bootstrap resamples behind each interval."""


class RewardConfig(Settings):
    """What the roles are paid, and how the frozen players measure it."""

    preset: Preset = "safe"
    """`paper`, `repo` (the published code) or `safe` (malformed output earns 0)."""
    solver: Literal["label", "random"] = "label"
    """What the Solver is paid for: giving the pseudo-label, or (a control arm) nothing that it does: by lot."""
    answers: int = Field(10, ge=2)
    """Frozen Solver's answers a question."""
    early_stopping: EarlyStopping | None = None
    """Stop sampling them when the difficulty is known well enough; null samples all."""
    history_penalty: bool = False
    """Count a question's likeness to what this team has trained on in earlier rounds as repetition, too."""
    top_k: Count = 5
    """The Searcher's query retrieves this many; one of them, by the seed, is asked about."""
    question_draw: Draw = Draw()
    answer_draw: Draw = Draw()


class TrainConfig(Settings):
    """How each role learns."""

    searcher: TrainerConfig
    questioner: TrainerConfig
    solver: TrainerConfig


class SearchConfig(Settings):
    """3: the round's pool of pictures."""

    queries: Count = 6000
    """Queries written, spread over the domains by the frontier's weights."""
    top_k: Count = 5
    """Pictures taken a query, the best first."""
    draw: Draw = Draw()
    passive: bool = False
    """A control arm: as many pictures as were found, but drawn from the whole corpus at random."""


class SynthesizeConfig(Settings):
    """5: questions for the pool."""

    questions: Count = 1
    """Questions asked about each picture."""
    draw: Draw = Draw()


class LeakageConfig(Settings):
    """What else a labelled question must pass before it trains (`tasks/labelling/leakage.py`)."""

    asked_before: bool = True
    """Drop what an earlier round of this team has trained on: the same question about the same picture."""
    given_away: bool = True
    """Drop a question in which its own label stands."""
    blind_answers: int = Field(4, ge=0)
    """Answers that the Solver gives without the picture to each question in the window; 0 leaves the gate open."""
    blind_share: float = Field(0.75, gt=0, le=1)
    """Drop a question whose label is at least this share of the blind answers."""


class GoldItemConfig(Settings):
    """Items whose answer is known, mixed unmarked into every labelling batch (`tasks/labelling/gold.py`)."""

    source: str = "world:gold"
    """A benchmark, by name or file; none that decides or is reported."""
    share: float = Field(0.1, gt=0, le=0.5)
    """Share of the labelling batch, as far as there are items."""
    trust: Share = 0.0
    """Raise the window's lower end until the gold items in it are labelled right this often; 0 never raises it."""
    floor: Share = 0.5
    """The run ends when the gold items' labels in the window are surely (95 %) right less often; 0 never ends it."""


class FilterConfig(Settings):
    """6: the Solver's own answers label the questions; those in the window train."""

    answers: int = Field(9, ge=2)
    """Solver answers a question (m); the majority is the pseudo-label."""
    early_stopping: EarlyStopping | None = None
    """Stop sampling them when it is decided whether the question is kept; null samples all."""
    low: Share = 0.3
    """Least agreement that is kept."""
    high: Share = 0.8
    """Greatest agreement that is kept."""
    max_share: float = Field(1.0, gt=0, le=1)
    """Greatest share of the curriculum that one domain may have; 1 sets no limit."""
    draw: Draw = Draw()
    leakage: LeakageConfig = LeakageConfig()
    gold: GoldItemConfig | None = GoldItemConfig()

    @model_validator(mode="after")
    def _window_is_open(self) -> FilterConfig:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) is above high ({self.high})")
        return self


class EvaluateConfig(Settings):
    """8: what is measured, on pictures that no round ever sees."""

    gate: str = "world:validation"
    """Benchmark that decides on promotion."""
    report: tuple[str, ...] = ("world:heldout",)
    """Benchmarks that are only measured."""
    samples: Count = 8
    """Answers an item at temperature 1 (k), beside the greedy one."""
    items: Annotated[int, Field(ge=1)] | None = None
    """Only the first items of each benchmark; null takes all."""
    judge: JudgeConfig | None = None
    """A language model's second opinion on greedy answers, shown beside the score; null asks none."""

    @model_validator(mode="after")
    def _gate_is_apart(self) -> EvaluateConfig:
        if self.gate in self.report:
            raise ValueError(f"{self.gate} decides on promotion, so it cannot be reported as held out")
        return self

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """All that is measured, the gate first."""
        return (self.gate, *self.report)


class PromoteConfig(Settings):
    """9: when the new Solver takes the old one's place. Gains in points (0..100) on the gate's items."""

    criterion: Criterion = "estimate"
    """What must pass: the measured gain, or the lower end of its 95 % interval."""
    least_mean_gain: float = Field(0.0, ge=-100, le=100)
    """Gain of the mean of the samples that must be exceeded."""
    greatest_greedy_loss: float = Field(1.0, ge=0, le=100)
    """Fall of greedy accuracy that is put up with."""
    resamples: int = Field(2000, ge=100)
    """Bootstrap resamples behind each interval."""


class RunConfig(Settings):
    """Everything that a run computes with."""

    model: str = Field(min_length=1)
    """Base model of all three roles: a folder (from here or from the repository's root), or a name on the Hugging Face
    hub: `owner/model`, or `owner/model@revision` to stay with one commit."""
    seed: int = Field(7, ge=0)
    """All sampling derives from it."""
    engine: EngineConfig
    """Runs the frozen players and the benchmarks."""
    train: TrainConfig
    corpus: CorpusSettings
    """What the Searcher searches."""
    retrieval: RetrievalConfig = RetrievalConfig()
    """How it is embedded, indexed and searched."""
    domains: tuple[Domain, ...] = Field(min_length=1)
    """Where the Searcher may be sent; in a file, also the name of a YAML list beside it."""
    prompts: PromptTemplates
    rewards: RewardConfig = RewardConfig()
    probe: ProbeConfig = ProbeConfig()
    search: SearchConfig = SearchConfig()
    synthesize: SynthesizeConfig = SynthesizeConfig()
    filter: FilterConfig = FilterConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    promote: PromoteConfig = PromoteConfig()
    patience: Count = 2
    """Rounds rolled back in a row after which no further round is begun by itself."""
    runner: Annotated[Literal["threads", "ray"], NotFingerprinted] = "threads"
    """What works on a corpus's shards: threads of this process, or tasks on the Ray cluster at `RAY_ADDRESS` (on this
    machine where it is not set), which needs the extra `ray`."""

    @model_validator(mode="after")
    def _domains_differ(self) -> RunConfig:
        names = [domain.name for domain in self.domains]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"domains: named twice: {', '.join(sorted(twice))}")
        return self


def load_config(name: str | Path = DEFAULT, overrides: Sequence[str] = ()) -> RunConfig:
    """The config file `name` (a path, or a name in `configs/`) with `a.b=value` overrides over it.

    Raises UserError, in one line, for an unknown key (with the nearest valid one), a value out of range, or a secret.
    """
    for assignment in overrides:
        without_secrets(assignment)
    path = find(name)
    source = f"config {path.name}" + (f" with {' '.join(overrides)}" if overrides else "")
    return validated(RunConfig, override(read(path), overrides), source)
