"""Settings that make a round fit: single ones first, then several together, each tried on the plan itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, product

from tasks.config import RunConfig
from tasks.engines import VLLM, Transformers
from tasks.memory.plan import MemoryPlan
from tasks.trainers.trl import LoRA

SHARES = [percent / 100 for percent in range(95, 9, -1)]
"""Values of `engine.gpu_memory_utilization` that are tried, the largest KV cache first."""
MICRO_BATCHES = (8192, 4096, 2048)
ROWS = (256, 128, 64, 32, 16, 8)
ROLES = ("searcher", "questioner", "solver")


@dataclass(frozen=True)
class SettingChange:
    """One setting's new value, as `--set` takes it."""

    assignment: str
    apply: Callable[[RunConfig], RunConfig]


def mend(config: RunConfig, plan_of: Callable[[RunConfig], MemoryPlan]) -> str:
    """`set a=b` or `set a=b and c=d`: the fewest settings with which every stage fits; else what else to change."""
    offered = [options for options in _options(config) if options]
    for count in range(1, len(offered) + 1):
        for chosen in combinations(offered, count):
            for changes in product(*chosen):
                changed = config
                for change in changes:
                    changed = change.apply(changed)
                if plan_of(changed).fits:
                    return "set " + " and ".join(change.assignment for change in changes)
    return "no setting mends it: take a larger card or a smaller model"


def _options(config: RunConfig) -> Iterator[list[SettingChange]]:
    """For each setting that saves memory, the values to try, in the order of preference."""
    engine = config.engine
    trainers = [getattr(config.train, role) for role in ROLES]
    if isinstance(engine, VLLM):
        yield [_engine("gpu_memory_utilization", share) for share in SHARES]
    if any(trainer.lora is None for trainer in trainers):
        yield [_train("lora", "{rank: 32, alpha: 64}", LoRA(rank=32, alpha=64))]
    if not all(trainer.gradient_checkpointing for trainer in trainers):
        yield [_train("gradient_checkpointing", "true", True)]
    smallest = min(trainer.micro_batch for trainer in trainers)
    yield [_train("micro_batch", str(tokens), tokens) for tokens in MICRO_BATCHES if tokens < smallest]
    if config.retrieval.clip.device != "cpu":
        yield [SettingChange("retrieval.clip.device=cpu", _clip_on_cpu)]
    if isinstance(engine, Transformers):
        yield [_engine("rows", rows) for rows in ROWS if rows < engine.rows]


def _clip_on_cpu(config: RunConfig) -> RunConfig:
    """The embedding model in main memory."""
    clip = config.retrieval.clip.model_copy(update={"device": "cpu"})
    return config.model_copy(update={"retrieval": config.retrieval.model_copy(update={"clip": clip})})


def _engine(name: str, value: float) -> SettingChange:
    """A setting of the engine."""
    return SettingChange(
        f"engine.{name}={value:g}",
        lambda config: config.model_copy(update={"engine": config.engine.model_copy(update={name: value})}),
    )


def _train(name: str, text: str, value: object) -> SettingChange:
    """A setting of all three trainers."""

    def apply(config: RunConfig) -> RunConfig:
        roles = {role: getattr(config.train, role).model_copy(update={name: value}) for role in ROLES}
        return config.model_copy(update={"train": config.train.model_copy(update=roles)})

    quoted = f"'train.defaults.{name}={text}'" if " " in text else f"train.defaults.{name}={text}"
    return SettingChange(quoted, apply)
