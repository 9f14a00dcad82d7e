"""A training with vLLM as its rollout engine (`make test-vllm`)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from tasks.engines.decode import encode
from tasks.engines.inputs import VisionCache
from tasks.engines.open_engines import Engines
from tasks.engines.pictures import OWN_LIMITS, PictureBudget
from tasks.engines.request import Adapter, Request, Sampling
from tasks.engines.transformers import load
from tasks.records.picture import Picture
from tasks.records.prompt import Prompt
from tasks.trainers import TRL, LoRA, Training
from tasks.trainers.example import Example, Reward, Rollout
from tasks.trainers.forward import PackedForward, Trajectory
from tasks.trainers.grpo import micro_batch
from tasks.trainers.packing import prompt_inputs, score
from tests.fixtures.small_vllm import NEEDS_VLLM, SMALL
from tests.fixtures.tiny_vlm import tiny_picture

pytestmark = NEEDS_VLLM
TRAINING = TRL(
    steps=10, prompts=6, rollouts=16, max_tokens=6, learning_rate=3e-2, beta=0.0, lora=LoRA(rank=8, alpha=16),
)  # fmt: skip


def early(rollouts: Sequence[Rollout]) -> list[Reward]:
    """The share of letters of the first half of the alphabet in each text."""
    return [Reward(sum(c in "abcdefghijklm" for c in each.text) / max(len(each.text), 1)) for each in rollouts]


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return [
        Example(f"q{i}", Prompt(f"How many {i}?"), Picture(f"p{i}", tiny_picture(i)) if i % 2 else None)
        for i in range(6)
    ]


@pytest.mark.parametrize("lora", [LoRA(rank=8, alpha=16), None])
def test_a_reward_rises_with_an_adapter_and_with_whole_weights(
    folder: Path, examples: list[Example], tmp_path: Path, lora: LoRA | None
) -> None:
    config = TRAINING.model_copy(update={"lora": lora, "learning_rate": 3e-2 if lora else 3e-3})
    engines = Engines(SMALL, OWN_LIMITS)
    training = Training(str(folder), None, examples, early, tmp_path / "out", seed=1, engines=engines)
    with closing(engines):
        rewards = [step.reward for step in config.train(training)]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.06, rewards


def test_one_budget_gives_trainer_and_rollout_engine_the_same_tokens(
    folder: Path, examples: list[Example], tmp_path: Path
) -> None:
    """A step raises where the token ids of a prompt differ."""
    larger = PictureBudget(min_pixels=224 * 224)
    engines = Engines(SMALL, larger)
    with closing(engines):
        steps = TRAINING.train(Training(str(folder), None, examples, early, tmp_path / "out", 1, larger, engines))
    assert len(steps) == TRAINING.steps


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_its_log_probabilities_are_those_of_the_trained_model(
    folder: Path, adapter: Adapter, examples: list[Example], temperature: float
) -> None:
    """So the importance weights are 1, up to rounding, in the first update of a step."""
    requests = [
        Request(example.prompt, example.picture, adapter, Sampling(6, temperature), 3, seed=i)
        for i, example in enumerate(examples)
    ]
    engine = SMALL.open(str(folder), OWN_LIMITS)
    _, samples = engine.sample(requests)
    engine.close()
    model, processor = load(str(folder), "cpu", "float32")
    PeftModel.from_pretrained(model, str(adapter.path))
    prompts = [prompt_inputs(model, prompt) for prompt in encode(model, processor, requests, VisionCache())]
    rows = [[Trajectory(prompt, each, 0.0) for each in group] for prompt, group in zip(prompts, samples, strict=True)]
    batch = micro_batch(PackedForward(1), rows, model.device)
    with torch.no_grad():
        scored = score(model, batch.inputs, temperature)[0]
    assert (scored - batch.sampled)[batch.mask.bool()].abs().max() < 1e-3
