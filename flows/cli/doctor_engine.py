"""Checks of what an engine needs beside memory: GPUs, a C compiler, room for prompts."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

from flows.cli.check import Check
from flows.cli.doctor_memory import unknown_shape
from tasks.config import RunConfig
from tasks.engines import VLLM, of_one_replica, setting_name
from tasks.memory.cards import Cluster
from tasks.memory.layout import layout_of
from tasks.memory.shape import ModelShape
from tasks.memory.work import PromptLength, max_pixels, prompt_length

ROLES = ("searcher", "questioner", "solver")


def device(config: RunConfig, cluster: Cluster | None) -> Check:
    """A GPU, or an engine that runs without one. Of several GPUs one is used, unless something is spread over them."""
    import torch

    if cluster is not None:
        count = f"{cluster.cards} x " if cluster.cards > 1 else ""
        return Check("device", "pass", f"not looked at: the memory plan is for {count}{cluster.card.name}")
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if cards == 0 and config.engine.needs_gpu:
        return Check("device", "fail", f"engine {config.engine.kind} needs a GPU, and there is none: another --config")
    if cards == 0:
        return Check("device", "pass", f"no GPU; {torch.get_num_threads()} CPU threads")
    layout = layout_of(config, cards)
    if layout.on_ray or layout.ranks > 1:
        return Check("device", "pass", f"{cards} x {torch.cuda.get_device_name()}; Ray places replicas and ranks")
    return gpus(cards, torch.cuda.get_device_name(), layout.cards_each)


def gpus(cards: int, name: str, wanted: int) -> Check:
    """So many visible GPUs against those over which vLLM splits the model."""
    if cards < wanted:
        advice = f"set engine.tensor_parallel_size={cards}"
        return Check("device", "fail", f"{cards} x {name}, and the engine is split over {wanted}: {advice}")
    if cards == 1:
        return Check("device", "pass", f"1 x {name}")
    engine = f" (vLLM uses {wanted})" if wanted > 1 else ""
    advice = "CUDA_VISIBLE_DEVICES chooses it, and another run can use another one; engine.kind=ray uses all"
    return Check("device", "pass", f"{cards} x {name}; a round uses the first one{engine}: {advice}")


def compiler(config: RunConfig) -> Check:
    """A C compiler, with which vLLM's kernels are compiled when it starts (by Triton, as CC, gcc or cc)."""
    engine = of_one_replica(config.engine)
    if not isinstance(engine, VLLM):
        return Check("C compiler", "pass", f"engine {engine.kind} needs none")
    names = [name for name in (os.environ.get("CC"), "gcc", "cc") if name]
    if (found := next(filter(None, map(shutil.which, names)), None)) is not None:
        return Check("C compiler", "pass", found)
    advice = "install gcc (apt-get install gcc), or set CC"
    return Check(
        "C compiler", "fail", f"engine vllm compiles kernels when it starts, and there is no gcc or cc: {advice}"
    )


def lengths(config: RunConfig, shape: ModelShape | None) -> Check:
    """Visual tokens, prompt and completion of each role against `max_model_len` of the engine."""
    name, key = "prompt length", setting_name(config.engine, "max_model_len")
    engine = of_one_replica(config.engine)
    if not isinstance(engine, VLLM):
        return Check(name, "pass", f"engine {engine.kind} has no {key}")
    if shape is None:
        return Check(name, "warn", unknown_shape(config.model))
    limit, pixels = engine.max_model_len, shape.vision.pixels_per_token
    role, longest = max(((role, _length(config, shape, role)) for role in ROLES), key=lambda pair: pair[1].total)
    told, excess = f"{role}: {longest.words} = {longest.total} tokens", longest.total - limit
    if excess <= 0:
        return Check(name, "pass", f"{told} of {key}={limit}")
    smaller = (max_pixels(config, shape) // pixels - excess) * pixels
    advice = f"set {key}={longest.total}"
    advice += f" or pictures.max_pixels={smaller}" if smaller > 0 else ""
    if excess > longest.prompt.question:
        rejects = "so every prompt with a picture of the largest size is a reject"
        return Check(name, "fail", f"{told} above {key}={limit}, {rejects}: {advice}")
    return Check(name, "warn", f"{told} above {key}={limit}, so the longest are rejects: {advice}")


@dataclass(frozen=True)
class SequenceLength:
    """Tokens of a role's longest sequence."""

    prompt: PromptLength
    reply: int

    @property
    def total(self) -> int:
        """Prompt and completion."""
        return self.prompt.total + self.reply

    @property
    def words(self) -> str:
        """The sum in words."""
        question = f" + {self.prompt.question} of question" if self.prompt.question else ""
        return f"{self.prompt.visual} visual + {self.prompt.text} of template{question} + {self.reply} of completion"


def _length(config: RunConfig, shape: ModelShape, role: str) -> SequenceLength:
    template, trainer = getattr(config.prompts, role), getattr(config.train, role)
    return SequenceLength(prompt_length(config, shape, role), max(template.max_tokens, trainer.max_tokens))
