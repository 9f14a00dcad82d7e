"""A training whose rollouts come from a vLLM beside it (`make test-vllm`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from tasks.engines import VLLM
from tasks.engines.decode import encode
from tasks.engines.inputs import VisionCache
from tasks.engines.request import Adapter, Request, Sampling
from tasks.engines.transformers import load
from tasks.records.picture import Picture
from tasks.records.prompt import Prompt
from tasks.settings.errors import UserError
from tasks.trainers import TRL, LoRA
from tasks.trainers.example import Example, Reward, Rollout
from tasks.trainers.grpo import Trajectory, micro_batch
from tasks.trainers.packing import context, score
from tests.fixtures.tiny_vlm import tiny_picture

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
]
BESIDE = VLLM(
    dtype="float32", max_model_len=512, max_lora_rank=8, enforce_eager=True, chunked_prefill=False,
    gpu_memory_utilization=0.3,
)  # fmt: skip
TRAINING = TRL(
    steps=10, prompts=6, rollouts=16, max_tokens=6, learning_rate=3e-2, beta=0.0, lora=LoRA(rank=8, alpha=16),
    vllm=BESIDE,
)  # fmt: skip


def early(rollouts: Sequence[Rollout]) -> list[Reward]:
    """Letters of the first half of the alphabet, as a share of the text."""
    return [Reward(sum(c in "abcdefghijklm" for c in one.text) / max(len(one.text), 1)) for one in rollouts]


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return [
        Example(f"q{i}", Prompt(f"How many {i}?"), Picture(f"p{i}", tiny_picture(i)) if i % 2 else None)
        for i in range(6)
    ]


@pytest.mark.parametrize("lora", [LoRA(rank=8, alpha=16), None])
def test_a_reward_rises_on_rollouts_of_an_adapter_and_of_whole_weights(
    folder: Path, examples: list[Example], tmp_path: Path, lora: LoRA | None
) -> None:
    config = TRAINING.model_copy(update={"lora": lora, "learning_rate": 3e-2 if lora else 3e-3})
    rewards = [step.reward for step in config.train(str(folder), None, examples, early, tmp_path / "out", seed=1)]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.06, rewards


def test_an_engine_that_reads_a_picture_as_other_tokens_is_refused(
    folder: Path, examples: list[Example], tmp_path: Path
) -> None:
    larger = TRAINING.model_copy(update={"vllm": BESIDE.model_copy(update={"min_pixels": 224 * 224})})
    with pytest.raises(UserError, match="vLLM reads a prompt of"):
        larger.train(str(folder), None, examples, early, tmp_path / "out", seed=1)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_log_probabilities_that_it_tells_are_those_of_the_model_in_training(
    folder: Path, adapter: Adapter, examples: list[Example], temperature: float
) -> None:
    """So the correction of the loss is 1, but for rounding, on the first update of a step."""
    requests = [
        Request(one.prompt, one.picture, adapter, Sampling(6, temperature), 3, seed=i) for i, one in enumerate(examples)
    ]
    engine = BESIDE.open(str(folder))
    _, drawn = engine.sample(requests)
    engine.close()
    model, processor = load(str(folder), "cpu", "float32")
    PeftModel.from_pretrained(model, str(adapter.path))
    prompts = [context(model, one) for one in encode(model, processor, requests, VisionCache())]
    rows = [[Trajectory(prompt, one, 0.0) for one in group] for prompt, group in zip(prompts, drawn, strict=True)]
    batch = micro_batch(rows)
    with torch.no_grad():
        scored = score(model, batch.pack, temperature)[0]
    drawn_at_all = batch.mask.bool()
    assert (scored - batch.sampled)[drawn_at_all].abs().max() < 1e-3
