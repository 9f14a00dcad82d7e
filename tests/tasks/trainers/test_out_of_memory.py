"""Out of memory at any place of a step: the same rollouts, and the same update.

Only a GPU raises an error that can be caught when memory is short, so each place raises it here, once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.engines import decode, inputs
from tasks.trainers import TRL, LoRA, Training, packing
from tasks.trainers.example import Example, Reward, Rollout

CONFIG = TRL(
    steps=1, prompts=4, rollouts=4, max_tokens=8, updates=2, beta=0.1, device="cpu", lora=LoRA(rank=4, alpha=8),
    row_tokens=1, micro_batch=300,
)  # fmt: skip
Spoil = Callable[[Any, pytest.MonkeyPatch], "Fault"]


class Fault:
    """A function that raises at one of its calls."""

    def __init__(self, function: Callable[..., Any], call: int = 1, when: Callable[[], bool] = lambda: True) -> None:
        self.function, self.call, self.when, self.calls = function, call, when, 0

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        self.calls += self.when()
        if self.when() and self.calls == self.call:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.function(*arguments, **named)


class OtherSampler:
    """Stands for a rollout engine: its samples' log-probabilities are scored again before the first update."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def sample(self, policy: Any, requests: Any) -> Any:
        trainer = self.trainer
        prompts = trainer._forward.prompts(trainer._base_model, trainer.processing_class, requests)
        samples = trainer._forward.sample(policy, trainer.processing_class, requests, prompts)
        return [prompt.ids.tolist() for prompt in prompts], samples


def _tower(trainer: Any, patch: pytest.MonkeyPatch) -> Fault:
    fault = Fault(inputs.run_vision_tower)
    patch.setattr(inputs, "run_vision_tower", fault)
    return fault


def _rollouts(trainer: Any, patch: pytest.MonkeyPatch) -> Fault:
    fault = Fault(decode._DecodeBatch.run)
    patch.setattr(decode._DecodeBatch, "run", lambda batch: fault(batch))
    return fault


def _old_log_probabilities(trainer: Any, patch: pytest.MonkeyPatch) -> Fault:
    fault = Fault(packing.score, when=lambda: not torch.is_grad_enabled())
    patch.setattr(packing, "score", fault)
    return fault


def _reference(trainer: Any, patch: pytest.MonkeyPatch) -> Fault:
    fault = trainer._reference = Fault(trainer._reference, call=2)
    return fault


def _forward(trainer: Any, patch: pytest.MonkeyPatch) -> Fault:
    fault = Fault(packing.score, call=2, when=torch.is_grad_enabled)
    patch.setattr(packing, "score", fault)
    return fault


def _backward(trainer: Any, patch: pytest.MonkeyPatch) -> Fault:
    """The second micro-batch: the first one's gradients are there already."""
    fault = trainer.accelerator.backward = Fault(trainer.accelerator.backward, call=2)
    return fault


def length(rollouts: Sequence[Rollout]) -> list[Reward]:
    return [Reward(len(rollout.text) + i % 3) for i, rollout in enumerate(rollouts)]


def step(model: Path, examples: list[Example], scratch: Path, spoil: Callable[[Any], Fault] | None) -> Any:
    """The sampled ids of one step and the gradient of its first update."""
    training = Training(str(model), None, examples, length, scratch / "out", seed=1)
    trainer: Any = CONFIG._trainer(training, *CONFIG._policy(training), scratch, rollout_engine=None)
    trainer._rollout_engine = OtherSampler(trainer)
    trainer.current_gradient_accumulation_steps = 1
    torch.manual_seed(0)
    with torch.no_grad():  # an adapter of 0 has no gradient in half of its weights
        for name, weight in trainer.policy.named_parameters():
            if "lora_B" in name:
                weight.normal_(0.0, 0.05, generator=torch.Generator().manual_seed(len(name)))
    fault = spoil(trainer) if spoil else None
    updates = trainer._updates_of_step(0)
    trainer.policy.train()
    trainer._gradients(updates[0])
    if fault is not None:
        assert fault.calls > fault.call, "the place was not reached again after its error"
    ids = [one.sample.ids for update in updates for group in update.groups for one in group]
    gradient = torch.cat([p.grad.flatten() for p in trainer.policy.parameters() if p.grad is not None])
    return ids, gradient


@pytest.mark.parametrize("spoil", [_tower, _rollouts, _old_log_probabilities, _reference, _forward, _backward])
def test_a_step_recovers_to_the_same_update(
    model: Path, examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Spoil
) -> None:
    ids, gradient = step(model, examples, tmp_path, None)
    again, recovered = step(model, examples, tmp_path, lambda trainer: spoil(trainer, monkeypatch))
    assert again == ids
    assert torch.nn.functional.cosine_similarity(gradient, recovered, dim=0) > 0.9999
    assert torch.allclose(gradient, recovered, atol=1e-5)
