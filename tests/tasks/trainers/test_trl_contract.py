"""The facts about TRL beyond its public API that `tasks.trainers.grpo` relies on. One fails if TRL has changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.trainers import TRL, LoRA, Training
from tasks.trainers.example import Example, Reward, Rollout


def length(rollouts: Sequence[Rollout]) -> list[Reward]:
    return [Reward(len(rollout.text) + i % 3) for i, rollout in enumerate(rollouts)]


@pytest.fixture
def trainer(model: Path, examples: list[Example], tmp_path: Path) -> Any:
    config = TRL(
        prompts=4, rollouts=4, max_tokens=6, updates=2, beta=0.5, device="cpu", lora=LoRA(rank=4), delta=1.5,
        epsilon_low=0.1, epsilon_high=0.3,
    )  # fmt: skip
    training = Training(str(model), None, examples, length, tmp_path / "out", seed=1)
    trainer = config._trainer(training, *config._policy(training), tmp_path, rollout_engine=None)
    trainer.current_gradient_accumulation_steps = 1  # set by the training loop
    return trainer


def test_the_loss_is_the_clipped_objective_plus_k3_by_token(trainer: Any) -> None:
    """arXiv 2402.03300, eq. 3 and 4, with DAPO's two bounds, the dual clip and a mean over tokens."""
    update = trainer._updates_of_step(0)[0]
    (part,) = update.parts
    batch = trainer._micro_batch(part)
    torch.manual_seed(0)
    new = trainer._score(batch.inputs)
    batch = replace(batch, old=new + torch.randn_like(new) * 0.5)  # as if updates had moved the policy
    reference = new + torch.randn_like(new) * 0.3
    trainer._reference = lambda packed: reference
    trainer.model.train()
    loss, kl = trainer._backward(batch, update)

    ratio = (new - batch.old).exp()
    advantage = batch.advantages[:, None]
    objective = torch.minimum(ratio.clamp(max=1.5) * advantage, ratio.clamp(0.9, 1.3) * advantage)
    k3 = (reference - new).exp() - (reference - new) - 1
    mask = batch.mask
    assert loss == pytest.approx((((0.5 * k3 - objective) * mask).sum() / update.tokens).item(), rel=1e-4)
    assert kl == pytest.approx((k3 * mask).sum().item(), rel=1e-4)


def test_the_reference_is_a_frozen_copy_of_the_adapter(trainer: Any) -> None:
    batch = trainer._micro_batch(trainer._updates_of_step(0)[0].parts[0])
    before = trainer._reference(batch.inputs)
    with torch.no_grad():
        for name, parameter in trainer.model.named_parameters():
            if "lora_B.default" in name:
                parameter.normal_()
    assert torch.equal(trainer._reference(batch.inputs), before)
    assert not torch.allclose(trainer._score(batch.inputs), before, atol=1e-2)


def test_the_sampler_has_the_log_probabilities_of_the_model(trainer: Any) -> None:
    batch = trainer._micro_batch(trainer._updates_of_step(0)[0].parts[0])
    assert torch.allclose(trainer._score(batch.inputs), batch.sampled, atol=1e-4)


def test_nothing_but_the_adapter_is_trained(trainer: Any) -> None:
    trained = {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
    assert trained
    assert all("language_model" in name and "lora_" in name for name in trained)
