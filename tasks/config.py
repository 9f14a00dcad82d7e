"""Settings of one run: frozen, typed, and validated as a whole before anything runs.

`load_config("configs/tiny.yaml", ["filter.low=0.4"])` reads a YAML file, the files that it extends, and the overrides.
Fields marked `NotFingerprinted` say only where or how fast something runs, so they enter no fingerprint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from tasks.benchmarks.judge import JudgeConfig
from tasks.benchmarks.statistics import Criterion
from tasks.corpora import CorpusConfig
from tasks.engines import EngineConfig, Ray
from tasks.engines.pictures import OWN_LIMITS, PictureBudget
from tasks.engines.replicas import gpus_of
from tasks.engines.request import Sampling
from tasks.retrieval.searchable_corpus import RetrievalConfig
from tasks.rewards import AgreementWindow, Preset, PresetName
from tasks.roles.questioner import QuestionerTemplate
from tasks.roles.searcher import Domain, SearcherTemplate
from tasks.roles.solver import SolverTemplate
from tasks.settings.addresses import Address, without_secrets
from tasks.settings.base import Settings
from tasks.settings.fingerprint import NotFingerprinted
from tasks.settings.overlay import find_config, merge, override, read_config, validate
from tasks.trainers import TrainerConfig

DEFAULT = "tiny.yaml"

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Draw(Settings):
    """Sampling parameters of a completion."""

    temperature: float = Field(1.0, ge=0, le=5)
    """Sampling temperature; 0 is greedy decoding."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Nucleus sampling: share of the probability mass that tokens are drawn from; 1 takes all of it."""
    top_k: int = Field(0, ge=0)
    """Number of the most probable tokens to draw from; 0 takes all tokens."""

    def sampling(self, max_tokens: int) -> Sampling:
        """The engine's sampling parameters, for completions of at most `max_tokens` tokens."""
        return Sampling(max_tokens, self.temperature, self.top_p, self.top_k)


class EarlyStopping(Settings):
    """Early stopping of votes: answers are sampled in batches until they decide the outcome (`tasks.labelling`)."""

    first: Count = 4
    """Answers in the first batch."""
    more: Count = 2
    """Answers in each later batch."""
    tolerance: Share = 0.0
    """Error that is accepted. In the filter: probability that the full number of answers would decide otherwise; 0
    accepts none. In a reward: standard deviation of the difficulty that the full number of answers would give."""

    def batches(self, n: int) -> Iterator[tuple[int, int]]:
        """(number of the first answer, count of answers) of each batch of n answers."""
        edges = [0, *range(min(self.first, n), n, self.more), n]
        return ((start, stop - start) for start, stop in pairwise(edges))


class PromptTemplates(Settings):
    """Prompt templates of the three roles."""

    searcher: SearcherTemplate
    """Asks for a search query in a domain."""
    questioner: QuestionerTemplate
    """Asks for a question about a picture."""
    solver: SolverTemplate
    """Asks for the answer to a question about a picture."""


class CorpusSettings(Settings):
    """The corpus of pictures that the Searcher searches."""

    at: Annotated[Address, Field(min_length=1), NotFingerprinted]
    """Where the built corpus lies: a name below the store's `corpora/`, or the address of `corpus build --out`."""
    source: CorpusConfig | None = None
    """What the corpus is built from; shards that are built already are reused. Null uses the corpus as it is."""
    at_once: Annotated[int, Field(ge=1), NotFingerprinted] = 2
    """Shards that are embedded in parallel; on a Ray cluster, use its number of processors or GPUs."""


class ProbeConfig(Settings):
    """Measure where the Solver is uncertain."""

    pictures: Count = 8
    """Pictures per domain, retrieved by the domain's name and focus words."""
    answers: int = Field(8, ge=2)
    """Solver answers per question."""
    draw: Draw = Draw()
    """Sampling parameters of questions and answers."""
    smoothing: Share = 0.5
    """Share of the domain weights that is spread evenly; 1 ignores the domain difficulty."""
    resamples: int = Field(1000, ge=100)
    """Bootstrap resamples behind each interval."""

    @property
    def difficulty(self) -> Preset:
        """The preset whose difficulty is averaged over a domain's questions."""
        return "paper"


class WindowProbe(ProbeConfig):
    """Measure where the Solver is near the filter's window: the probe of preset `window`."""

    low: Share
    """The filter's lowest agreement."""
    high: Share
    """The filter's highest agreement."""

    @property
    def difficulty(self) -> Preset:
        """The window."""
        return AgreementWindow(self.low, self.high)


class RewardConfig(Settings):
    """Rewards of the three roles, and how the frozen team measures them."""

    preset: PresetName = "safe"
    """Reward formulas: `paper`, `repo` (the published code), `safe` (malformed output is rewarded with 0) or `window`
    (as `safe`, but questions are worth most that the filter keeps; the probe follows it)."""
    solver: Literal["label", "random"] = "label"
    """Solver's reward: `label` rewards an answer that equals the pseudo-label; `random`, a control arm, draws lots."""
    answers: int = Field(10, ge=2)
    """Answers of the frozen Solver per question."""
    early_stopping: EarlyStopping | None = None
    """Stop sampling answers when the difficulty is known well enough; null samples all."""
    history_penalty: bool = False
    """Also penalize questions like those that the current team has trained on in earlier rounds."""
    top_k: Count = 5
    """Pictures that a Searcher's query retrieves; the reward takes one of them, chosen by the seed."""
    question_draw: Draw = Draw()
    """Sampling parameters of the frozen Questioner."""
    answer_draw: Draw = Draw()
    """Sampling parameters of the frozen Solver."""

    @property
    def difficulty(self) -> Preset:
        """The preset whose difficulty is rewarded."""
        return self.preset


class WindowRewards(RewardConfig):
    """Rewards by preset `window`, which pays for agreements in the filter's window."""

    low: Share
    """The filter's lowest agreement."""
    high: Share
    """The filter's highest agreement."""

    @property
    def difficulty(self) -> Preset:
        """The window."""
        return AgreementWindow(self.low, self.high)


class TrainConfig(Settings):
    """How each role is trained."""

    defaults: TrainerConfig | None = Field(None, exclude=True)
    """Trainer settings of all three roles; what a role sets itself comes first. Merged into the roles on loading."""
    searcher: TrainerConfig
    """Trainer of the Searcher."""
    questioner: TrainerConfig
    """Trainer of the Questioner."""
    solver: TrainerConfig
    """Trainer of the Solver."""

    @model_validator(mode="before")
    @classmethod
    def _merge_defaults(cls, settings: object) -> object:
        """Each role's settings over `defaults`, by the rule by which YAML files extend each other."""
        if not isinstance(settings, Mapping) or not isinstance(settings.get("defaults"), Mapping):
            return settings
        roles = [name for name in cls.model_fields if name != "defaults"]
        return merge(dict.fromkeys(roles, settings["defaults"]), settings)

    @field_validator("defaults")
    @classmethod
    def _clear_defaults(cls, defaults: TrainerConfig | None) -> None:
        """Valid defaults are in the roles already, so two files that resolve alike are equal."""


class SearchConfig(Settings):
    """Retrieve the round's pool of pictures."""

    queries: Count = 6000
    """Queries that the Searcher writes, spread over the domains by their weights."""
    top_k: Count = 5
    """Pictures retrieved per query."""
    draw: Draw = Draw()
    """Sampling parameters of the Searcher."""
    passive: bool = False
    """Control arm: replace the retrieved pictures by as many that are drawn at random from the whole corpus."""


class SynthesizeConfig(Settings):
    """Write questions about the pool."""

    questions: Count = 1
    """Questions per picture."""
    draw: Draw = Draw()
    """Sampling parameters of the Questioner."""


class LeakageConfig(Settings):
    """Leakage checks of labelled questions (`tasks/labelling/leakage.py`)."""

    asked_before: bool = True
    """Drop a question about a picture if the current team has trained on it in an earlier round."""
    given_away: bool = True
    """Drop a question that contains its own label."""
    blind_answers: int = Field(4, ge=0)
    """Answers that the Solver gives without seeing the picture, per question in the window; 0 skips this check."""
    blind_share: float = Field(0.75, gt=0, le=1)
    """Drop a question if at least this share of its blind answers equals the label."""


class GoldItemConfig(Settings):
    """Gold items: items with known answers, mixed unmarked into every labelling batch (`tasks/labelling/gold.py`)."""

    source: str = "world:gold"
    """Benchmark that the gold items are drawn from, by name or file; use none that decides or is reported."""
    share: float = Field(0.1, gt=0, le=0.5)
    """Share of gold items in the labelling batch, as far as the benchmark has enough."""
    trust: Share = 0.0
    """Raise the window's lower end until the label accuracy of the gold items in it reaches this; 0 never raises it."""
    floor: Share = 0.5
    """End the run when the label accuracy of the gold items in the window is below this at 95 % confidence; 0 never
    ends it."""


class FilterConfig(Settings):
    """Label the questions by the Solver's answers, and keep those with an agreement in the window."""

    answers: int = Field(9, ge=2)
    """Solver answers per question (m); the majority answer is the pseudo-label."""
    early_stopping: EarlyStopping | None = None
    """Stop sampling answers when they decide whether the question is kept; null samples all."""
    low: Share = 0.3
    """Lowest agreement that is kept."""
    high: Share = 0.8
    """Highest agreement that is kept."""
    max_share: float = Field(1.0, gt=0, le=1)
    """Highest share of the curriculum that one domain may have; 1 sets no limit."""
    draw: Draw = Draw()
    """Sampling parameters of the Solver."""
    leakage: LeakageConfig = LeakageConfig()
    """Leakage checks of the questions in the window."""
    gold: GoldItemConfig | None = GoldItemConfig()
    """Gold items in the labelling batch; null mixes in none."""

    @model_validator(mode="after")
    def _check_window(self) -> FilterConfig:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) is above high ({self.high})")
        return self


class EvaluateConfig(Settings):
    """Benchmarks of the new Solver, on pictures that no round trains on."""

    gate: str = "world:validation"
    """Benchmark that decides on promotion, by name or file."""
    report: tuple[str, ...] = ("world:heldout",)
    """Benchmarks that are reported but decide nothing, by name or file."""
    samples: Count = 8
    """Answers per item at temperature 1 (k), besides the greedy answer."""
    items: Annotated[int, Field(ge=1)] | None = None
    """Use only this many first items of each benchmark; null uses all."""
    judge: JudgeConfig | None = None
    """Language model that also judges the greedy answers, reported beside the score; null uses none."""

    @model_validator(mode="after")
    def _check_gate(self) -> EvaluateConfig:
        if self.gate in self.report:
            raise ValueError(f"{self.gate} decides on promotion, so it cannot be reported as held out")
        return self

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """All benchmarks, the gate first."""
        return (self.gate, *self.report)


class PromoteConfig(Settings):
    """Promote the new Solver or roll the round back. Gains are in points (0..100) on the gate's items."""

    criterion: Criterion = "estimate"
    """Figure that must pass: the measured gain (`estimate`), or the lower end of its 95 % interval (`lower end`)."""
    least_mean_gain: float = Field(0.0, ge=-100, le=100)
    """Promote only if the gain of the samples' mean accuracy is above this."""
    greatest_greedy_loss: float = Field(1.0, ge=0, le=100)
    """Promote only if greedy accuracy falls by no more than this."""
    resamples: int = Field(2000, ge=100)
    """Bootstrap resamples behind each interval."""


class RunConfig(Settings):
    """All settings of a run."""

    model: str = Field(min_length=1)
    """Base model of all three roles: a folder (relative to the working directory or to the repository), or a name on
    the Hugging Face hub, `owner/model` or `owner/model@revision`."""
    seed: int = Field(7, ge=0)
    """Seed of all sampling."""
    pictures: PictureBudget = OWN_LIMITS
    """Size of pictures as the model sees them, in every engine and trainer."""
    engine: EngineConfig
    """Inference engine of the frozen team and the benchmarks."""
    train: TrainConfig
    """How each role is trained."""
    corpus: CorpusSettings
    """The corpus of pictures that the Searcher searches."""
    retrieval: RetrievalConfig = RetrievalConfig()
    """How the corpus is embedded, indexed and searched."""
    domains: tuple[Domain, ...] = Field(min_length=1)
    """Domains that the Searcher is asked to search in: a list, or the name of a YAML file that holds the list."""
    prompts: PromptTemplates
    """Prompt templates of the three roles."""
    rewards: RewardConfig = RewardConfig()
    """Rewards of the three roles, and how the frozen team measures them."""
    probe: ProbeConfig = ProbeConfig()
    """Measure where the Solver is uncertain."""
    search: SearchConfig = SearchConfig()
    """Retrieve the round's pool of pictures."""
    synthesize: SynthesizeConfig = SynthesizeConfig()
    """Write questions about the pool."""
    filter: FilterConfig = FilterConfig()
    """Label the questions, and keep those with an agreement in the window."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """Benchmarks of the new Solver."""
    promote: PromoteConfig = PromoteConfig()
    """Promote the new Solver or roll the round back."""
    patience: Count = 2
    """Start no further round after this many rolled-back rounds in a row."""
    runner: Annotated[Literal["threads", "ray"], NotFingerprinted] = "threads"
    """What embeds a corpus's shards: threads of this process, or tasks on the Ray cluster at `RAY_ADDRESS` (a local one
    if it is not set; needs the extra `ray`)."""

    @property
    def probe_by_preset(self) -> ProbeConfig:
        """The probe's settings, with the filter's window where the preset pays for it: only there it is an input."""
        if self.rewards.preset != "window":
            return self.probe
        return WindowProbe(**dict(self.probe), low=self.filter.low, high=self.filter.high)

    @property
    def rewards_by_preset(self) -> RewardConfig:
        """The Searcher's and the Questioner's rewards, with the filter's window where the preset pays for it."""
        if self.rewards.preset != "window":
            return self.rewards
        return WindowRewards(**dict(self.rewards), low=self.filter.low, high=self.filter.high)

    @property
    def cluster_gpus(self) -> int | Literal["all"] | None:
        """GPUs of a Ray cluster that replicas use, and ranks on cards of their own; None where they are not on one."""
        if not isinstance(self.engine, Ray):
            return None
        each, roles = gpus_of(self.engine), (self.train.searcher, self.train.questioner, self.train.solver)
        ranks = 0 if self.engine.share else max(role.workers if role.workers > 1 else 0 for role in roles)
        return each and ("all" if self.engine.replicas == "auto" else each * self.engine.replicas + ranks)

    @model_validator(mode="after")
    def _check_domain_names(self) -> RunConfig:
        names = [domain.name for domain in self.domains]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"domains: each name must be unique; repeated: {', '.join(sorted(repeated))}")
        return self


def load_config(name: str | Path = DEFAULT, overrides: Sequence[str] = ()) -> RunConfig:
    """The settings of config file `name` (a path, or a name in `configs/`) with `a.b=value` overrides applied.

    UserError, in one line, for an unknown key (it suggests the nearest valid key), a value out of range, or an address
    that holds a password.
    """
    for assignment in overrides:
        without_secrets(assignment)
    path = find_config(name)
    source = f"config {path.name}" + (f" with {' '.join(overrides)}" if overrides else "")
    return validate(RunConfig, override(read_config(path), overrides), source)
