"""What `tasks.trainers.grpo` relies on in TRL beyond its public API. If one of these fails, TRL has changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.trainers import TRL, LoRA
from tasks.trainers.example import Example, Reward, Rollout


def length(rollouts: Sequence[Rollout]) -> list[Reward]:
    return [Reward(len(one.text) + i % 3) for i, one in enumerate(rollouts)]


@pytest.fixture
def trainer(model: Path, examples: list[Example], tmp_path: Path) -> Any:
    config = TRL(
        prompts=4, rollouts=4, max_tokens=6, updates=2, beta=0.5, device="cpu", lora=LoRA(rank=4), delta=1.5,
        epsilon_low=0.1, epsilon_high=0.3,
    )  # fmt: skip
    policy, processor = config._policy(str(model), None, seed=1)
    trainer = config._trainer(policy, processor, examples, length, tmp_path, 1, None, None, None)
    trainer.current_gradient_accumulation_steps = 1  # set by the training loop
    return trainer


def test_the_loss_is_the_clipped_objective_plus_k3_over_an_updates_tokens(trainer: Any) -> None:
    """arXiv 2402.03300, eq. 3 and 4, with DAPO's two bounds, the dual clip and a mean over tokens."""
    update = trainer._draw(0)[0]
    (batch,) = update.batches
    torch.manual_seed(0)
    new = trainer._score(batch.pack)
    batch = replace(batch, old=new + torch.randn_like(new) * 0.5)  # as if updates had moved the policy
    reference = new + torch.randn_like(new) * 0.3
    trainer._reference = lambda pack: reference
    trainer.model.train()
    loss, kl = trainer._backward(batch, update)

    ratio = (new - batch.old).exp()
    gain = batch.advantages[:, None]
    objective = torch.minimum(ratio.clamp(max=1.5) * gain, ratio.clamp(0.9, 1.3) * gain)
    k3 = (reference - new).exp() - (reference - new) - 1
    mask = batch.mask
    assert loss == pytest.approx((((0.5 * k3 - objective) * mask).sum() / update.tokens).item(), rel=1e-4)
    assert kl == pytest.approx((k3 * mask).sum().item(), rel=1e-4)


def test_an_adapter_is_copied_as_the_reference_and_the_copy_is_frozen(trainer: Any) -> None:
    batch = trainer._draw(0)[0].batches[0]
    before = trainer._reference(batch.pack)
    with torch.no_grad():
        for name, parameter in trainer.model.named_parameters():
            if "lora_B.default" in name:
                parameter.normal_()
    assert torch.equal(trainer._reference(batch.pack), before)
    assert not torch.allclose(trainer._score(batch.pack), before, atol=1e-2)


def test_the_samplers_log_probabilities_are_those_of_the_trained_model(trainer: Any) -> None:
    batch = trainer._draw(0)[0].batches[0]
    assert torch.allclose(trainer._score(batch.pack), batch.sampled, atol=1e-4)


def test_nothing_but_the_adapter_is_trained(trainer: Any) -> None:
    trained = {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
    assert trained
    assert all("language_model" in name and "lora_" in name for name in trained)
