"""The memory plan: the peak of each stage of a round on one card or on each of several, as a sum of terms."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.config import RunConfig
from tasks.engines import VLLM, Transformers, of_one_replica
from tasks.engines.inputs import VISION_CACHE_BYTES
from tasks.memory.cards import GIB, Card, Cluster
from tasks.memory.clip import clip_bytes
from tasks.memory.engine import (
    PROCESS,
    cached_features,
    encode_phase,
    sampling_phases,
    torch_memory,
    vllm_memory,
)
from tasks.memory.layout import CardUse, Layout, layout_of
from tasks.memory.shape import BYTES, ModelShape
from tasks.memory.terms import MemoryTerms, Phase
from tasks.memory.trainer import rollout_phase, rows_at_once, state_memory, update_phases
from tasks.memory.work import StageWork, models_of, prompt_length, trainer_of, work

USABLE = 0.95
"""Share of a card that a plan may fill: the allocator's fragments and the driver need the rest."""


@dataclass(frozen=True)
class StagePlan:
    """One stage: its phases, of which the largest decides."""

    stage: str
    phases: tuple[Phase, ...]
    use: CardUse
    """What stands on the card."""
    shortage: int = 0
    """Bytes that vLLM's share of the card lacks; 0 if it can start."""

    @property
    def peak(self) -> Phase:
        """The phase with the largest sum."""
        return max(self.phases, key=lambda phase: phase.terms.total)

    @property
    def least(self) -> Phase:
        """The phase with the largest sum where all batches are as small as they can be."""
        return max(self.phases, key=lambda phase: phase.least.total)


@dataclass(frozen=True)
class MemoryPlan:
    """All stages on one card, or on each kind of card of a cluster."""

    card: Card
    stages: tuple[StagePlan, ...]
    layout: Layout

    @property
    def usable(self) -> int:
        """Bytes that the plan may fill."""
        return int(USABLE * self.card.total)

    @property
    def largest(self) -> StagePlan:
        """The stage with the largest peak."""
        return max(self.stages, key=lambda stage: stage.peak.terms.total)

    @property
    def impossible(self) -> list[StagePlan]:
        """Stages that cannot run: an engine that cannot start, or a sum that is too large with the smallest batch."""
        return [stage for stage in self.stages if stage.shortage or stage.least.least.total > self.usable]

    @property
    def tight(self) -> list[StagePlan]:
        """Stages that do not fit as configured, but with smaller batches."""
        return [stage for stage in self.stages if stage.peak.terms.total > self.usable]

    @property
    def fits(self) -> bool:
        """Whether every stage fits as configured, and every part has a card."""
        return self.problem is None and not self.impossible and not self.tight

    @property
    def problem(self) -> str | None:
        """Why some part gets no card; None if each has one."""
        return self.layout.problem() if self.card.is_gpu else None


def plan(config: RunConfig, shape: ModelShape, cluster: Cluster) -> MemoryPlan:
    """The plan of a round on a cluster; each stage has one entry for each kind of use of a card.

    The process that plays the round embeds queries on its first card, so every entry has room for that.
    """
    card, layout = cluster.card, layout_of(config, cluster.cards if cluster.card.is_gpu else 0)
    stages = [
        _stage_plan(config, shape, card, one, use, layout)
        for one in work(config, shape)
        for use in layout.uses(one.stage)
    ]
    return MemoryPlan(card, tuple(stages), layout)


def _stage_plan(
    config: RunConfig, shape: ModelShape, card: Card, stage: StageWork, use: CardUse, layout: Layout
) -> StagePlan:
    clip = MemoryTerms(clip=clip_bytes(config.retrieval.clip, card.is_gpu))
    fixed = MemoryTerms(contexts=PROCESS * _processes(use, layout)) + (MemoryTerms() if card.is_gpu else clip)
    phases, shortage = [], 0
    if stage.trained is not None and use.rank:
        fixed += state_memory(trainer_of(config, stage.trained), shape)
        phases += _training_phases(config, shape, stage)
    if not card.is_gpu:
        fixed += MemoryTerms(vision=_host_features(config, shape, stage))
    if use.engine:
        terms, sampling, shortage = _engine_terms(config, shape, card, stage, layout)
        fixed, phases = fixed + terms, [*phases, *sampling]
    if not (stage.trained is not None and use.rank):
        phases.append(Phase("sample", MemoryTerms(), MemoryTerms()))
    if stage.trained is not None and stage.queries and card.is_gpu:  # else queries are embedded with no engine open
        phases.append(Phase("embed queries", clip, clip))
    return StagePlan(stage.stage, tuple(phase.above(fixed) for phase in phases), use, shortage)


def _processes(use: CardUse, layout: Layout) -> int:
    """Processes with a context on the card; vLLM's own is one of its terms."""
    replica = use.engine and layout.on_ray and layout.engine == "transformers"
    return 1 + replica + (use.rank and layout.ranks > 1)


def _engine_terms(
    config: RunConfig, shape: ModelShape, card: Card, stage: StageWork, layout: Layout
) -> tuple[MemoryTerms, list[Phase], int]:
    """What the engine holds throughout a stage, its phases, and the bytes that vLLM's share lacks.

    On Ray the engines of several models stand on different cards, elsewhere on the same.
    """
    engine = of_one_replica(config.engine)
    if isinstance(engine, VLLM):
        one = vllm_memory(engine, config, shape, card)
        models = 1 if layout.on_ray else len(models_of(config, stage.stage, rollouts=True))
        return sum([one.terms] * models, MemoryTerms()), [], one.shortage
    if isinstance(engine, Transformers) and stage.sampled:
        models = 1 if layout.on_ray else len(models_of(config, stage.stage, rollouts=False))
        held = torch_memory(engine, shape, card.is_gpu, models, len(stage.sampled))
        return held, sampling_phases(engine, config, shape, stage.sampled, card.is_gpu), 0
    return MemoryTerms(), [], 0


def _training_phases(config: RunConfig, shape: ModelShape, stage: StageWork) -> list[Phase]:
    """The phases of a rank: its pictures, its rollouts unless an engine samples them, its updates."""
    if stage.trained is None:
        return []
    trainer, prompt = trainer_of(config, stage.trained), prompt_length(config, shape, stage.trained)
    size = 4 if trainer.lora is None else BYTES[trainer.precision]
    rows = rows_at_once(trainer, shape, prompt)
    pictures = [encode_phase(config, shape, size, rows)] if prompt.visual else []
    own = [] if config.engine.draws_rollouts else [rollout_phase(trainer, shape, stage.trained, prompt)]
    return [*pictures, *own, *update_phases(trainer, shape, prompt)]


def _host_features(config: RunConfig, shape: ModelShape, stage: StageWork) -> int:
    """Picture features in main memory: the engine's cache in each process, and the trainer's."""
    features, engine = 0, of_one_replica(config.engine)
    if isinstance(engine, Transformers) and stage.sampled:
        limit, copies = engine.vision_cache * GIB, engine.model_copies
        features += copies * cached_features(config, shape, 4, stage.pictures, limit)
    if stage.trained not in (None, "searcher"):
        features += cached_features(config, shape, 4, stage.pictures, VISION_CACHE_BYTES)
    return features
