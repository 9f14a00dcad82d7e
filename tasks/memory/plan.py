"""The memory plan: the peak of each stage of a round on one card, as a sum of terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.config import RunConfig
from tasks.engines import VLLM, Transformers
from tasks.engines.inputs import VISION_CACHE_BYTES
from tasks.memory.cards import GIB, Card
from tasks.memory.clip import clip_bytes
from tasks.memory.engine import (
    PROCESS,
    cached_features,
    encode_phase,
    sampling_phases,
    torch_memory,
    vllm_memory,
)
from tasks.memory.shape import BYTES, ModelShape
from tasks.memory.terms import MemoryTerms, Phase
from tasks.memory.trainer import rollout_phase, rows_at_once, state_memory, update_phase
from tasks.memory.work import StageWork, prompt_length, trainer_of, work

USABLE = 0.95
"""Share of a card that a plan may fill: the allocator's fragments and the driver need the rest."""


@dataclass(frozen=True)
class StagePlan:
    """One stage: its phases, of which the largest decides."""

    stage: str
    phases: tuple[Phase, ...]
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
    """All stages on one card."""

    card: Card
    stages: tuple[StagePlan, ...]

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
        """Whether every stage fits as configured."""
        return not self.impossible and not self.tight


def plan(config: RunConfig, shape: ModelShape, card: Card) -> MemoryPlan:
    """The plan of a round. With several visible GPUs one is used, so it is the plan of that one."""
    return MemoryPlan(card, tuple(_stage_plan(config, shape, card, one) for one in work(config, shape)))


def _stage_plan(config: RunConfig, shape: ModelShape, card: Card, stage: StageWork) -> StagePlan:
    engine, clip = config.engine, MemoryTerms(clip=clip_bytes(config.retrieval.clip, card.is_gpu))
    phases, shortage = _training_phases(config, shape, stage), 0
    fixed = MemoryTerms(contexts=PROCESS) + (MemoryTerms() if card.is_gpu else clip)
    if stage.trained is not None:
        fixed += state_memory(trainer_of(config, stage.trained), shape)
    if not card.is_gpu:
        fixed += MemoryTerms(vision=_host_features(config, shape, stage))
    if isinstance(engine, VLLM):
        one, models = vllm_memory(engine, config, shape, card), len(_models(config, stage, rollouts=True))
        fixed, shortage = sum([one.terms] * models, fixed), one.shortage
    if isinstance(engine, Transformers) and stage.sampled:
        models, roles = len(_models(config, stage, rollouts=False)), len(stage.sampled)
        fixed += torch_memory(engine, shape, card.is_gpu, models, roles)
        phases += sampling_phases(engine, config, shape, stage.sampled, card.is_gpu)
    if stage.trained is None:
        phases.append(Phase("sample", MemoryTerms(), MemoryTerms()))
    elif stage.queries and card.is_gpu:  # elsewhere queries are embedded while no engine is open
        phases.append(Phase("embed queries", clip, clip))
    return StagePlan(stage.stage, tuple(phase.above(fixed) for phase in phases), shortage)


def _training_phases(config: RunConfig, shape: ModelShape, stage: StageWork) -> list[Phase]:
    """The phases of a training stage: its pictures, its rollouts unless vLLM samples them, its updates."""
    if stage.trained is None:
        return []
    trainer, prompt = trainer_of(config, stage.trained), prompt_length(config, shape, stage.trained)
    size = 4 if trainer.lora is None else BYTES[trainer.precision]
    rows = rows_at_once(trainer, shape, prompt)
    pictures = [encode_phase(config, shape, size, rows)] if prompt.visual else []
    own = [] if config.engine.draws_rollouts else [rollout_phase(trainer, shape, stage.trained, prompt)]
    return [*pictures, *own, update_phase(trainer, shape, prompt)]


def _models(config: RunConfig, stage: StageWork, rollouts: bool) -> set[str]:
    """The models that a stage samples from: the base, and one for each role that is trained without an adapter.

    Adapters share an engine; a whole model needs one of its own (`tasks.engines.open_engines`). That is so for frozen
    roles from the second round on, and for a policy with `rollouts` always.
    """
    trained: Sequence[str] = [stage.trained] if rollouts and stage.trained is not None else []
    roles = [*(sampled.role for sampled in stage.sampled), *trained]
    return {role if trainer_of(config, role).lora is None else "base" for role in roles}


def _host_features(config: RunConfig, shape: ModelShape, stage: StageWork) -> int:
    """Picture features in main memory: the engine's cache in each process, and the trainer's."""
    features = 0
    if isinstance(config.engine, Transformers) and stage.sampled:
        limit, copies = config.engine.vision_cache * GIB, config.engine.model_copies
        features += copies * cached_features(config, shape, 4, stage.pictures, limit)
    if stage.trained not in (None, "searcher"):
        features += cached_features(config, shape, 4, stage.pictures, VISION_CACHE_BYTES)
    return features
