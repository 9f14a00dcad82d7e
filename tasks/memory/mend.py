"""Settings that make a round fit: single ones first, then several together, each tried on the plan itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, product

from tasks.config import RunConfig
from tasks.engines import VLLM, Ray, Transformers, of_one_replica, setting_name
from tasks.memory.layout import Layout
from tasks.memory.plan import MemoryPlan
from tasks.trainers.trl import LoRA

SHARES = [percent / 100 for percent in range(95, 9, -1)]
"""Values of `gpu_memory_utilization` that are tried, the largest KV cache first."""
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
    layout = plan_of(config).layout
    offered = [options for options in (*_layout_options(config, layout), *_options(config)) if options]
    for count in range(1, len(offered) + 1):
        for chosen in combinations(offered, count):
            for changes in product(*chosen):
                changed = config
                for change in changes:
                    changed = change.apply(changed)
                if plan_of(changed).fits:
                    return "set " + " and ".join(change.assignment for change in changes)
    more = "more or larger cards" if layout.on_ray or layout.ranks > 1 else "a larger card"
    return f"no setting mends it: take {more} or a smaller model"


def _layout_options(config: RunConfig, layout: Layout) -> Iterator[list[SettingChange]]:
    """What stands on how many cards: replicas, sharing, ranks."""
    if layout.on_ray and layout.cards_each:
        free = layout.cards if layout.share else layout.cards - layout.ranks
        rooms = (free // layout.models, layout.cards // layout.models, layout.cards)  # the last: adapters, one model
        counts = {room // layout.cards_each for room in rooms}
        yield [_replicas(count) for count in sorted(counts, reverse=True) if 0 < count != layout.replicas]
        yield [] if layout.share else [_sharing()]
    if layout.ranks > 1 or (layout.cards > 1 and _trains_whole(config)):
        counts = {layout.cards, layout.cards // 2, 1}
        yield [_train("workers", str(n), n) for n in sorted(counts, reverse=True) if 0 < n != layout.ranks]


def _trains_whole(config: RunConfig) -> bool:
    """Whether some role trains the whole model, so that ranks would share it."""
    return any(getattr(config.train, role).lora is None for role in ROLES)


def _replicas(count: int) -> SettingChange:
    return SettingChange(f"engine.replicas={count}", lambda config: _with_engine(config, replicas=count))


def _sharing() -> SettingChange:
    return SettingChange("engine.share=true", lambda config: _with_engine(config, share=True))


def _with_engine(config: RunConfig, **values: object) -> RunConfig:
    return config.model_copy(update={"engine": config.engine.model_copy(update=values)})


def _options(config: RunConfig) -> Iterator[list[SettingChange]]:
    """For each setting that saves memory, the values to try, in the order of preference."""
    engine = of_one_replica(config.engine)
    trainers = [getattr(config.train, role) for role in ROLES]
    if isinstance(engine, VLLM):
        yield [_engine(config, "gpu_memory_utilization", share) for share in SHARES]
    if _trains_whole(config):
        yield [_train("lora", "{rank: 32, alpha: 64}", LoRA(rank=32, alpha=64))]
    if not all(trainer.gradient_checkpointing for trainer in trainers):
        yield [_train("gradient_checkpointing", "true", True)]
    smallest = min(trainer.micro_batch for trainer in trainers)
    yield [_train("micro_batch", str(tokens), tokens) for tokens in MICRO_BATCHES if tokens < smallest]
    if config.retrieval.clip.device != "cpu":
        yield [SettingChange("retrieval.clip.device=cpu", _clip_on_cpu)]
    if isinstance(engine, Transformers):
        yield [_engine(config, "rows", rows) for rows in ROWS if rows < engine.rows]


def _clip_on_cpu(config: RunConfig) -> RunConfig:
    """The embedding model in main memory."""
    clip = config.retrieval.clip.model_copy(update={"device": "cpu"})
    return config.model_copy(update={"retrieval": config.retrieval.model_copy(update={"clip": clip})})


def _engine(config: RunConfig, name: str, value: float) -> SettingChange:
    """A setting of the engine, or of each replica."""

    def apply(config: RunConfig) -> RunConfig:
        if not isinstance(config.engine, Ray):
            return _with_engine(config, **{name: value})
        return _with_engine(config, of=config.engine.of.model_copy(update={name: value}))

    return SettingChange(f"{setting_name(config.engine, name)}={value:g}", apply)


def _train(name: str, text: str, value: object) -> SettingChange:
    """A setting of all three trainers."""

    def apply(config: RunConfig) -> RunConfig:
        roles = {role: getattr(config.train, role).model_copy(update={name: value}) for role in ROLES}
        return config.model_copy(update={"train": config.train.model_copy(update=roles)})

    quoted = f"'train.defaults.{name}={text}'" if " " in text else f"train.defaults.{name}={text}"
    return SettingChange(quoted, apply)
