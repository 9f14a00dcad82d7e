"""The check of the memory plan: which stage of a round does not fit on the card, and the setting that mends it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows.cli.check import Check
from flows.cli.console import print_line, print_table
from tasks.config import RunConfig
from tasks.engines import VLLM, Transformers, of_one_replica, setting_name
from tasks.memory.cards import GIB, Card, Cluster
from tasks.memory.mend import mend
from tasks.memory.plan import MemoryPlan, StagePlan, plan
from tasks.memory.shape import ModelShape, published, read_shape
from tasks.memory.terms import MemoryTerms
from tasks.players.hub import HubModel
from tasks.players.weights import base_model, model_folder

NAME = "memory plan"


def memory_plan(config: RunConfig, cluster: Cluster | None) -> Check:
    """The largest stage against a card of the cluster; None takes this machine's."""
    shape = model_shape(config.model)
    if shape is None:
        return Check(NAME, "warn", unknown_shape(config.model))
    cluster = cluster or this_machine(config)
    found = plan(config, shape, cluster)
    return Check(NAME, *_verdict(config, shape, cluster, found), details=as_json(found))


def unknown_shape(name: str) -> str:
    """Why a model has no plan."""
    return f"no shape of {name}: it must be a Qwen2.5-VL or Qwen3-VL, and on this disk unless its name is in the table"


def this_machine(config: RunConfig) -> Cluster:
    """The GPUs that a round may use; main memory where there is none or the engine is set to the CPU."""
    import psutil
    import torch

    engine = of_one_replica(config.engine)
    on_cpu = isinstance(engine, Transformers) and engine.device == "cpu"
    if torch.cuda.is_available() and not on_cpu:
        return Cluster(
            Card(torch.cuda.get_device_name(), torch.cuda.mem_get_info()[1]), max(1, torch.cuda.device_count())
        )
    return Cluster(Card("main memory", psutil.virtual_memory().total, is_gpu=False))


def model_shape(name: str) -> ModelShape | None:
    """From the model's files if they are on this disk, else as published; None if it is neither, or of another family.

    UserError for a model that does not exist. Only for a name that is not in the table the hub is asked.
    """
    if (folder := model_folder(name) or _cached(name)) is not None:
        return read_shape(folder)
    if (shape := published(name)) is not None:
        return shape
    base = base_model(name)
    return read_shape(base.folder()) if isinstance(base, HubModel) and base.is_here() else None


def _cached(name: str) -> Path | None:
    """The folder of a hub model in the hub's cache, without a request; None where its files are not there."""
    from huggingface_hub import try_to_load_from_cache

    repository, _, revision = name.partition("@")
    if published(repository) is None:
        return None
    file = try_to_load_from_cache(repository, "config.json", revision=revision or None)
    return Path(file).parent if isinstance(file, str) else None


def _verdict(config: RunConfig, shape: ModelShape, cluster: Cluster, found: MemoryPlan) -> tuple[Any, str]:
    """State and message."""
    size = f"{found.card.total / GIB:.1f} GiB ({found.card.name})"
    if found.fits:
        return "pass", f"{_named(found.largest)} takes most, {_sum(found.largest.peak.terms)}, of {size}"
    advice = mend(config, lambda changed: plan(changed, shape, cluster))
    if found.problem:
        return "fail", f"{found.problem}, and there {'is' if cluster.cards == 1 else 'are'} {cluster.cards}: {advice}"
    if short := [stage for stage in found.impossible if stage.shortage]:
        return "fail", f"{_named(short[0])}: {_shortage(config, short[0], found.card)}: {advice}"
    if found.impossible:
        stage = max(found.impossible, key=lambda stage: stage.least.least.total)
        return "fail", f"{_named(stage)} takes at least {_sum(stage.least.least)}, of {size}: {advice}"
    stage = max(found.tight, key=lambda stage: stage.peak.terms.total)
    halves = "batches are halved until they fit, which takes time"
    return "warn", f"{_named(stage)} takes {_sum(stage.peak.terms)}, of {size}; {halves}: {advice}"


def _named(stage: StagePlan) -> str:
    """The stage, with what stands on the card where it is a rank alone."""
    return stage.stage if stage.use.engine else f"{stage.stage} ({stage.use.words})"


def _shortage(config: RunConfig, stage: StagePlan, card: Card) -> str:
    """Why vLLM cannot start."""
    engine = of_one_replica(config.engine)
    assert isinstance(engine, VLLM)  # no other engine has a share of the card
    share = engine.gpu_memory_utilization
    has = share * card.total
    needs = f"vLLM needs {(has + stage.shortage) / GIB:.1f} GiB for weights and one sequence"
    name = setting_name(config.engine, "gpu_memory_utilization")
    return f"{needs}, and {name}={share:g} of {card.name} is {has / GIB:.1f} GiB"


def _sum(terms: MemoryTerms) -> str:
    """`31.2 GiB (weights 14.0 + adapters 0.6 + ...)`, without terms that round to 0."""
    shown = {name: f"{value / GIB:.1f}" for name, value in terms.by_name.items()}
    parts = " + ".join(f"{_words(name)} {value}" for name, value in shown.items() if value != "0.0")
    return f"{terms.total / GIB:.1f} GiB ({parts})"


def as_json(found: MemoryPlan) -> dict[str, Any]:
    """The plan's numbers, in GiB: for each stage its largest phase, term by term."""
    return {
        "card": found.card.name,
        "cards": max(1, found.layout.cards),
        "stands": found.layout.stands("train-searcher", found.layout.ranks),
        "card_gib": _gib(found.card.total),
        "usable_gib": _gib(found.usable),
        "stages": [
            {
                "stage": stage.stage,
                "on the card": stage.use.words,
                "phase": stage.peak.name,
                **{name: _gib(value) for name, value in stage.peak.terms.by_name.items()},
                "sum": _gib(stage.peak.terms.total),
                "least": _gib(stage.least.least.total),
            }
            for stage in found.stages
        ],
    }


def print_plan(details: dict[str, Any]) -> None:
    """The plan as a table, stage by term."""
    print_line("")
    card = f"{details['card']} ({details['card_gib']:.1f} GiB)"
    on = f"each of {details['cards']} x {card}" if details["cards"] > 1 else card
    print_line(f"Memory in GiB on {on}, at each stage's peak:")
    if details["cards"] > 1:
        print_line(f"({details['stands']})")
    rows = [{_words(name): _shown(value) for name, value in stage.items()} for stage in details["stages"]]
    print_table(rows, list(rows[0]), "No stages.")


def _words(name: str) -> str:
    return name.replace("_", " ")


def _shown(value: object) -> object:
    """A number with two decimals."""
    return f"{value:.2f}" if isinstance(value, float) else value


def _gib(value: int) -> float:
    return round(value / GIB, 3)
