"""A training of any vision-language model: its log-probabilities are the model's own, it changes the adapter alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.engines.architecture import placeholders
from tasks.engines.general import encode
from tasks.trainers import TRL, LoRA, Training
from tasks.trainers.example import Example, Reward, Rollout
from tasks.trainers.forward import PaddedForward, Trajectory
from tests.fixtures.tiny_architectures import ARCHITECTURES, write_tiny_architecture

CONFIG = TRL(
    steps=2, prompts=4, rollouts=4, max_tokens=6, updates=2, beta=0.1, learning_rate=1e-2, device="cpu",
    lora=LoRA(rank=4, alpha=8),
)  # fmt: skip


def length(rollouts: Sequence[Rollout]) -> list[Reward]:
    return [Reward(len(rollout.text) + i % 3) for i, rollout in enumerate(rollouts)]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_architecture(request.param, tmp_path_factory.mktemp(request.param) / "model")


def trainer_of(folder: Path, examples: list[Example], scratch: Path) -> Any:
    training = Training(str(folder), None, examples, length, scratch / "out", seed=1)
    trainer = CONFIG._trainer(training, *CONFIG._policy(training), scratch, rollout_engine=None)
    trainer.current_gradient_accumulation_steps = 1  # set by the training loop
    return trainer


def test_log_probabilities_are_those_of_the_models_own_forward(
    folder: Path, examples: list[Example], tmp_path: Path
) -> None:
    """Each rollout by itself through the model, without padding, beside what sampler and trainer computed."""
    trainer = trainer_of(folder, examples, tmp_path)
    requests = [trainer._request(example, number) for number, example in enumerate(examples)]
    model, forward = trainer._base_model, trainer._forward
    prompts = forward.prompts(model, trainer.processing_class, requests)
    samples = forward.sample(trainer.policy, trainer.processing_class, requests, prompts)
    plain = encode(trainer.processing_class, requests)
    for prompt, own, group in zip(prompts, plain, samples, strict=True):
        groups = [[Trajectory(prompt, sample, 1.0) for sample in group]]
        (part,) = forward.parts(groups, 100_000)
        scored = trainer._log_probs(part)
        for trajectory in groups[0]:
            expected = own_log_probs(model, own.tensors, trajectory.sample.ids)
            assert torch.allclose(scored[id(trajectory)], expected, atol=1e-5)
            assert torch.allclose(torch.tensor(trajectory.sample.logprobs), expected, atol=1e-5)


def own_log_probs(model: Any, tensors: Any, ids: list[int]) -> torch.Tensor:
    prompt = tensors["input_ids"].shape[1]
    inputs = dict(tensors)
    for name in inputs.keys() & {"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"}:
        value = {"input_ids": ids, "attention_mask": [1] * len(ids)}.get(name, [0] * len(ids))
        inputs[name] = torch.cat([inputs[name], torch.tensor([value])], 1)
    with torch.no_grad():
        logits = model(**inputs, use_cache=False).logits[0, prompt - 1 : -1].float()
    logits[:, placeholders(model.config)] = float("-inf")
    return logits.log_softmax(-1).gather(-1, torch.tensor(ids)[:, None])[:, 0]


def test_a_training_changes_the_adapter_and_nothing_else(folder: Path, examples: list[Example], tmp_path: Path) -> None:
    from peft import PeftModel

    from tasks.engines.transformers import load

    trainer = trainer_of(folder, examples, tmp_path)
    before = {name: weight.clone() for name, weight in trainer.policy.state_dict().items()}
    trainer.train()
    changed = {name for name, weight in trainer.policy.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed and all("lora_" in name and ".default." in name for name in changed)
    CONFIG.train(Training(str(folder), None, examples, length, tmp_path / "out", seed=1))
    base, _ = load(str(folder), "cpu", "float32")
    loaded = PeftModel.from_pretrained(base, str(tmp_path / "out"))
    weights = {name: weight for name, weight in loaded.named_parameters() if "lora_B" in name}
    assert weights and all(bool(weight.any()) for weight in weights.values())
    assert not any("vision" in name or "visual" in name or "projector" in name for name in weights)


def test_both_ways_learn_the_same(examples: list[Example], tmp_path: Path) -> None:
    """The fast way of Qwen2.5-VL beside the general way: equal rollouts, equal gradients."""
    folder = write_tiny_architecture("qwen2_5_vl", tmp_path / "model")
    gradients = list[torch.Tensor]()
    for name in ("fast", "general"):
        trainer = trainer_of(folder, examples, tmp_path / name)
        if name == "general":
            trainer._scorer.way = PaddedForward()
        update = trainer._updates_of_step(0)[0]
        trainer.policy.train()
        trainer._gradients(update)
        gradients.append(torch.cat([p.grad.flatten() for p in trainer.policy.parameters() if p.grad is not None]))
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.9999


def test_whole_language_models_are_trained_too(folder: Path, examples: list[Example], tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"lora": None, "learning_rate": 1e-4, "beta": 0.0})
    config.train(Training(str(folder), None, examples, length, tmp_path / "out", seed=1))
    from tasks.engines.transformers import load

    (old, _), (new, _) = load(str(folder), "cpu", "float32"), load(str(tmp_path / "out"), "cpu", "float32")
    after = dict(new.named_parameters())
    changed = {name for name, weight in old.named_parameters() if not torch.equal(weight, after[name])}
    assert changed and all("vision" not in name and "visual" not in name for name in changed)
