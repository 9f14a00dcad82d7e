"""What each stage of a round samples and trains: the sizes that its memory depends on."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.config import RunConfig
from tasks.memory.formulas import visual_tokens
from tasks.memory.shape import ModelShape
from tasks.roles.prompt_template import PromptTemplate
from tasks.trainers import TrainerConfig

CHARACTERS_PER_TOKEN = 3
"""English has about four; three leaves a margin."""
CHAT_TOKENS = 48
"""Tokens of a chat template around a prompt, and of a domain's name and focus words."""
EVALUATED_PICTURES = 5000
"""Pictures of the benchmarks where `evaluate.items` sets no limit: MathVerse has 3940 items."""


SAMPLED = {
    "probe": ("questioner", "solver"),
    "train-searcher": ("questioner", "solver"),
    "search": ("searcher",),
    "train-questioner": ("solver",),
    "synthesize": ("questioner",),
    "filter": ("solver",),
    "train-solver": (),
    "evaluate": ("solver",),
}
"""The frozen roles that each stage with models samples from."""
TRAINED = {f"train-{role}": role for role in ("searcher", "questioner", "solver")}
"""The role that each training stage trains."""


@dataclass(frozen=True)
class PromptLength:
    """The longest prompt of a role, in tokens."""

    visual: int
    text: int
    """The chat template and the role's prompt template."""
    question: int = 0
    """The question that the Solver is asked: at most as long as the Questioner may write."""

    @property
    def total(self) -> int:
        """All three."""
        return self.visual + self.text + self.question


@dataclass(frozen=True)
class SampledRole:
    """A frozen role that a stage samples from."""

    role: str
    n: int
    """Completions of a request."""
    prompt: int
    """Tokens of the longest prompt, the picture's included."""
    tokens: int
    """Tokens of the longest completion."""


@dataclass(frozen=True)
class StageWork:
    """What one stage samples and trains."""

    stage: str
    sampled: tuple[SampledRole, ...]
    pictures: int
    """Pictures that it reads, at most."""
    trained: str | None = None
    """The role that it trains."""
    queries: bool = False
    """Whether it embeds queries."""


def max_pixels(config: RunConfig, shape: ModelShape) -> int:
    """The largest picture: by the settings, else by the model's own processor."""
    return config.pictures.max_pixels or shape.max_pixels


def prompt_length(config: RunConfig, shape: ModelShape, role: str) -> PromptLength:
    """The longest prompt of a role."""
    template: PromptTemplate = getattr(config.prompts, role)
    text = CHAT_TOKENS + -(-len(template.user + (template.system or "")) // CHARACTERS_PER_TOKEN)
    if role == "searcher":
        return PromptLength(0, text)
    question = config.prompts.questioner.max_tokens if role == "solver" else 0
    return PromptLength(visual_tokens(shape.vision, max_pixels(config, shape)), text, question)


def trainer_of(config: RunConfig, role: str) -> TrainerConfig:
    """The trainer's settings of a role."""
    trainer: TrainerConfig = getattr(config.train, role)
    return trainer


def models_of(config: RunConfig, stage: str, rollouts: bool) -> set[str]:
    """The models that a stage samples from: the base, and one for each role that is trained without an adapter.

    Adapters share an engine; a whole model needs one of its own (`tasks.engines.open_engines`). That is so for frozen
    roles from the second round on, and for a policy with `rollouts` always.
    """
    trained = [TRAINED[stage]] if rollouts and stage in TRAINED else []
    return {role if trainer_of(config, role).lora is None else "base" for role in (*SAMPLED[stage], *trained)}


def work(config: RunConfig, shape: ModelShape) -> list[StageWork]:
    """The eight stages of a round that hold models, in order."""

    def sampled(role: str, n: int) -> SampledRole:
        template: PromptTemplate = getattr(config.prompts, role)
        return SampledRole(role, n, prompt_length(config, shape, role).total, template.max_tokens)

    def trained(role: str) -> int:
        return trainer_of(config, role).steps * trainer_of(config, role).prompts

    asked, answered = sampled("questioner", 1), sampled("solver", config.rewards.answers)
    queries = max(1, config.search.queries // len(config.domains))
    pool, evaluated = config.search.queries * config.search.top_k, config.evaluate.items or EVALUATED_PICTURES
    rollouts = trained("searcher") * config.train.searcher.rollouts
    probed = len(config.domains) * config.probe.pictures
    return [
        StageWork("probe", (asked, sampled("solver", config.probe.answers)), probed, queries=True),
        StageWork("train-searcher", (asked, answered), rollouts, "searcher", queries=True),
        StageWork("search", (sampled("searcher", queries),), 0, queries=True),
        StageWork("train-questioner", (answered,), min(pool, trained("questioner")), "questioner"),
        StageWork("synthesize", (sampled("questioner", config.synthesize.questions),), pool),
        StageWork("filter", (sampled("solver", config.filter.answers),), pool),
        StageWork("train-solver", (), min(pool, trained("solver")), "solver"),
        StageWork("evaluate", (sampled("solver", config.evaluate.samples),), evaluated),
    ]
