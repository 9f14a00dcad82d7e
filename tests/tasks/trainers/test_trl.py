"""The TRL trainer on a tiny model: it learns, resumes, keeps its promises about weights, and its errors are clear."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.engines.pictures import OWN_LIMITS
from tasks.engines.request import Adapter, Request, Sampling
from tasks.engines.transformers import Transformers
from tasks.records import ExampleReward, Step, read_rows
from tasks.settings.errors import UserError
from tasks.settings.fingerprint import fingerprint_fields
from tasks.store import Place, Store
from tasks.trainers import TRL, LoRA, Training
from tasks.trainers.checkpoints import StoredCheckpoints
from tasks.trainers.example import Example, Reward, Rollout
from tasks.trainers.grpo import Diverged, OneProcessConfig, step_examples

Weights = dict[str, Any]

QUICK = TRL(
    steps=2, prompts=4, rollouts=4, max_tokens=6, learning_rate=1e-2, beta=0.0, lora=LoRA(rank=4, alpha=8), device="cpu"
)


def early(rollouts: Sequence[Rollout]) -> list[Reward]:
    """The share of letters of the first half of the alphabet in each text."""
    return [Reward(_share(each.text, "abcdefghijklm"), {"letters": _share(each.text, "xyz")}) for each in rollouts]


def equal(rollouts: Sequence[Rollout]) -> list[Reward]:
    return [Reward(0.5) for _ in rollouts]


def _share(text: str, letters: str) -> float:
    return sum(letter in letters for letter in text) / max(len(text), 1)


def weights(folder: Path) -> Weights:
    from safetensors.torch import load_file

    return load_file(folder / "adapter_model.safetensors")


def same(first: Weights, second: Weights) -> bool:
    return first.keys() == second.keys() and all(bool((first[name] == second[name]).all()) for name in first)


@pytest.fixture(scope="session")
def trained(model: Path, examples: list[Example], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Step]]:
    """An adapter of twelve steps."""
    out = tmp_path_factory.mktemp("trained")
    config = QUICK.model_copy(update={"steps": 12, "prompts": 6, "rollouts": 16, "learning_rate": 3e-2})
    return out, config.train(Training(str(model), None, examples, early, out, seed=1))


def test_a_learnable_reward_rises(trained: tuple[Path, list[Step]]) -> None:
    rewards = [step.reward for step in trained[1]]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.06


def test_steps_hold_the_measurements(trained: tuple[Path, list[Step]]) -> None:
    steps = trained[1]
    assert [step.step for step in steps] == list(range(1, 13))
    assert all(step.learning_rate == 3e-2 and step.grad_norm > 0 and 0 < step.tokens <= 6 for step in steps)
    assert all(0 < step.active <= 1 and step.kl == 0 for step in steps)
    assert steps[0].reward_terms == ("letters",)
    assert len(steps[0].reward_term_means) == 1


def test_each_example_of_a_step_has_its_own_rewards(model: Path, examples: list[Example], tmp_path: Path) -> None:
    told = tmp_path / "examples.parquet"
    steps = QUICK.train(Training(str(model), None, examples, early, tmp_path / "out", seed=1, rewards_out=told))
    rows = read_rows(ExampleReward, told)
    assert {row.example for row in rows} <= {example.id for example in examples}
    for step in steps:
        of_step = [row for row in rows if row.step == step.step]
        assert len(of_step) == QUICK.prompts and all(row.rollouts == QUICK.rollouts for row in of_step)
        assert sum(row.reward for row in of_step) / len(of_step) == pytest.approx(step.reward)
        assert of_step[0].terms == step.reward_terms


def test_the_adapter_loads_in_peft_and_in_the_engine(
    model: Path, examples: list[Example], trained: tuple[Path, list[Step]]
) -> None:
    from peft import PeftModel
    from transformers import Qwen2_5_VLForConditionalGeneration

    base = Qwen2_5_VLForConditionalGeneration.from_pretrained(model)
    loaded = PeftModel.from_pretrained(base, str(trained[0]))
    assert loaded.peft_config["default"].r == 4
    engine = Transformers(device="cpu").open(str(model), OWN_LIMITS)
    adapter = Adapter("trained", trained[0])
    requests = [Request(e.prompt, e.picture, adapter, Sampling(6), n=16, seed=i) for i, e in enumerate(examples)]
    texts = [completion.text for group in engine.generate(requests) for completion in group]
    engine.close()
    assert sum(_share(text, "abcdefghijklm") for text in texts) / len(texts) > trained[1][0].reward + 0.06


def test_the_adapter_changes_the_language_model_alone(trained: tuple[Path, list[Step]]) -> None:
    names = list(weights(trained[0]))
    assert names
    assert all("language_model.layers" in name for name in names)


def test_an_adapter_names_no_folder_of_this_machine(model: Path, trained: tuple[Path, list[Step]]) -> None:
    assert str(model.parent) not in (trained[0] / "adapter_config.json").read_text()
    assert {file.name for file in trained[0].iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}


def test_equal_seeds_give_equal_rewards_and_others_other_rewards(
    model: Path, examples: list[Example], tmp_path: Path
) -> None:
    first, again, other = (
        QUICK.train(Training(str(model), None, examples, early, tmp_path / name, seed=seed))
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    assert [step.reward for step in first] == [step.reward for step in again]
    assert same(weights(tmp_path / "first"), weights(tmp_path / "again"))
    assert [step.reward for step in first] != [step.reward for step in other]


def test_training_continues_the_start_and_its_kl_is_to_the_start(
    model: Path, examples: list[Example], trained: tuple[Path, list[Step]], tmp_path: Path
) -> None:
    start = Adapter("trained", trained[0])
    config = QUICK.model_copy(update={"steps": 3, "beta": 0.05, "learning_rate": 1e-3})
    steps = config.train(Training(str(model), start, examples, early, tmp_path, seed=3))
    assert abs(steps[0].kl) < 1e-6
    assert steps[-1].kl > 1e-6
    before, after = weights(trained[0]), weights(tmp_path)
    assert before.keys() == after.keys()
    assert not same(before, after)
    assert all((before[name] - after[name]).abs().max() < 0.02 for name in before)


def test_averaged_weights_lie_between_start_and_trained_weights(
    model: Path, examples: list[Example], tmp_path: Path, trained: tuple[Path, list[Step]]
) -> None:
    start, settings = Adapter("start", trained[0]), QUICK.model_copy(update={"steps": 1})
    for name, share in (("trained", 1.0), ("averaged", 0.5)):
        config = settings.model_copy(update={"weight_averaging": share})
        config.train(Training(str(model), start, examples, early, tmp_path / name, seed=3))
    first, last, averaged = (weights(folder) for folder in (trained[0], tmp_path / "trained", tmp_path / "averaged"))
    assert not same(first, last)
    for name, value in averaged.items():
        assert value.allclose((first[name] + last[name]) / 2, atol=1e-6)


def test_groups_of_equal_rewards_change_nothing(model: Path, examples: list[Example], tmp_path: Path) -> None:
    config = QUICK.model_copy(update={"beta": 0.1, "weight_decay": 0.1})
    steps = config.train(Training(str(model), None, examples, equal, tmp_path, seed=1))
    assert [(step.active, step.loss, step.grad_norm) for step in steps] == [(0.0, 0.0, 0.0)] * 2
    assert all((tensor == 0).all() for name, tensor in weights(tmp_path).items() if "lora_B" in name)


def test_the_batching_of_rollouts_does_not_change_the_update(
    model: Path, examples: list[Example], tmp_path: Path
) -> None:
    import torch

    for loss_type in ("dapo", "grpo"):
        results = []
        for split in ({}, {"micro_batch": 60, "row_tokens": 50}):
            config = QUICK.model_copy(update={"steps": 1, "loss_type": loss_type, "beta": 0.01, **split})
            out = tmp_path / f"{loss_type}{len(split)}"
            steps = config.train(Training(str(model), None, examples, early, out, seed=1))
            results.append((steps[0].loss, steps[0].grad_norm))
        assert torch.allclose(*map(torch.tensor, results), rtol=1e-3, atol=1e-6)


def test_resources_do_not_affect_fingerprint() -> None:
    moved = QUICK.model_copy(update={"threads": 7, "device": "cuda", "micro_batch": 9, "row_tokens": 3, "workers": 2})
    assert fingerprint_fields(moved) == fingerprint_fields(QUICK)


def test_several_updates_a_step_measure_the_kl_and_clip(model: Path, examples: list[Example], tmp_path: Path) -> None:
    config = QUICK.model_copy(update={"updates": 2, "beta": 0.01})
    steps = config.train(Training(str(model), None, examples, early, tmp_path, seed=1))
    assert len(steps) == 2
    assert steps[0].kl > 0


def test_full_fine_tuning_leaves_the_vision_tower_unchanged(
    model: Path, examples: list[Example], tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    config = QUICK.model_copy(update={"lora": None, "beta": 0.01, "learning_rate": 1e-3})
    steps = config.train(Training(str(model), None, examples, early, tmp_path, seed=1))
    before, after = (load_file(folder / "model.safetensors") for folder in (model, tmp_path))
    changed = {name for name in before if not (before[name] == after[name]).all()}
    assert any("layers.0.mlp" in name for name in changed)
    assert not any("visual" in name for name in changed)
    assert abs(steps[0].kl) < 1e-6 < steps[1].kl
    Transformers(device="cpu").open(str(tmp_path), OWN_LIMITS).close()


def test_weights_that_are_not_finite_are_never_written(
    model: Path, examples: list[Example], trained: tuple[Path, list[Step]], tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    spoilt = weights(trained[0])
    next(iter(spoilt.values())).fill_(math.nan)
    (tmp_path / "start").mkdir()
    save_file(spoilt, tmp_path / "start" / "adapter_model.safetensors")
    (tmp_path / "start" / "adapter_config.json").write_bytes((trained[0] / "adapter_config.json").read_bytes())
    with pytest.raises(Diverged, match="no longer finite"):
        QUICK.train(Training(str(model), Adapter("nan", tmp_path / "start"), examples, early, tmp_path / "out", seed=1))
    assert not (tmp_path / "out").exists()


def test_a_training_resumes_from_its_checkpoint_to_the_same_adapter(
    model: Path, examples: list[Example], trained: tuple[Path, list[Step]], tmp_path: Path
) -> None:
    start, calls = Adapter("trained", trained[0]), []

    def interrupted(rollouts: Sequence[Rollout]) -> list[Reward]:
        calls.append(len(rollouts))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return early(rollouts)

    config = QUICK.model_copy(update={"steps": 4, "beta": 0.1, "save_steps": 2})
    place = Place.round(Store(str(tmp_path / "store")), "default", 1)
    told = [tmp_path / name for name in ("cut.parquet", "whole.parquet")]
    training = Training(str(model), start, examples, interrupted, tmp_path / "cut", seed=1, rewards_out=told[0])
    checkpoints = StoredCheckpoints(place.partial_results("7-train-solver", {}))
    with pytest.raises(KeyboardInterrupt):
        config.train(replace(training, checkpoints=checkpoints))
    checkpoints = StoredCheckpoints(place.partial_results("7-train-solver", {}))
    resumed = config.train(replace(training, checkpoints=checkpoints))
    assert len(calls) == 4 + 2
    whole = config.train(Training(str(model), start, examples, early, tmp_path / "whole", seed=1, rewards_out=told[1]))
    assert told[0].read_bytes() == told[1].read_bytes()
    assert [(s.step, s.reward, s.kl) for s in resumed] == [(s.step, s.reward, s.kl) for s in whole]
    assert same(weights(tmp_path / "cut"), weights(tmp_path / "whole"))


def test_out_of_memory_it_learns_the_same_in_smaller_batches(
    model: Path,
    examples: list[Example],
    trained: tuple[Path, list[Step]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Only a GPU raises an error that can be caught when memory is short, so here the scorer raises it."""
    import torch

    from tasks.trainers import packing

    score = packing.score
    config, start = QUICK.model_copy(update={"beta": 0.1, "row_tokens": 1}), Adapter("trained", trained[0])
    whole = config.train(Training(str(model), start, examples, early, tmp_path / "whole", seed=1))
    sizes = list[int]()

    def limited(model: Any, batch: packing.PackedBatch, temperature: float) -> Any:
        sizes.append(batch.ids.numel())
        if batch.ids.numel() > 150 or len(sizes) == 8:  # also in the middle of an update
            raise torch.OutOfMemoryError("CUDA out of memory")
        return score(model, batch, temperature)

    monkeypatch.setattr(packing, "score", limited)
    halved = config.train(Training(str(model), start, examples, early, tmp_path / "halved", seed=1))
    assert max(sizes) > 150 > sizes[-1]
    assert "out of memory: micro-batches of" in caplog.text
    assert [step.reward for step in halved] == [step.reward for step in whole]
    first, second = weights(tmp_path / "halved"), weights(tmp_path / "whole")
    assert all(torch.allclose(first[name], second[name], atol=1e-4) for name in second)


def test_a_row_that_is_too_large_for_the_memory_is_an_error(
    model: Path, examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from tasks.trainers import packing

    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(packing, "score", full)
    with pytest.raises(torch.OutOfMemoryError):
        QUICK.train(Training(str(model), None, examples, early, tmp_path / "out", seed=1))


def test_a_reward_that_is_not_finite_is_an_error(model: Path, examples: list[Example], tmp_path: Path) -> None:
    def broken(rollouts: Sequence[Rollout]) -> list[Reward]:
        return [Reward(math.nan) for _ in rollouts]

    with pytest.raises(ValueError, match="not finite"):
        QUICK.train(Training(str(model), None, examples, broken, tmp_path / "out", seed=1))


def test_training_is_silent(
    model: Path, examples: list[Example], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    QUICK.train(Training(str(model), None, examples, early, tmp_path, seed=1))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda model, examples, adapter: (model, None, []), "nothing to train on"),
        (lambda model, examples, adapter: (model.parent / "none", None, examples), "no model folder"),
        (lambda model, examples, adapter: (adapter, None, examples), "weights"),
        (lambda model, examples, adapter: (model, Adapter("a", model), examples), "adapter"),
    ],
)
def test_unusable_inputs_are_an_error_of_one_line(
    model: Path,
    examples: list[Example],
    tmp_path: Path,
    spoil: Callable[[Path, list[Example], Path], tuple[Path, Adapter | None, list[Example]]],
    message: str,
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "config.json").write_text("{}")
    source, start, some = spoil(model, examples, empty)
    with pytest.raises(UserError, match=message) as caught:
        QUICK.train(Training(str(source), start, some, early, tmp_path / "out", seed=1))
    assert "\n" not in str(caught.value)


def test_an_adapter_of_another_rank_is_an_error_of_one_line(
    model: Path, examples: list[Example], trained: tuple[Path, list[Step]], tmp_path: Path
) -> None:
    config = QUICK.model_copy(update={"lora": LoRA(rank=8, alpha=8)})
    with pytest.raises(UserError, match=r"rank is 8, the adapter .* has 4"):
        config.train(Training(str(model), Adapter("trained", trained[0]), examples, early, tmp_path, seed=1))


def test_few_examples_take_few_steps() -> None:
    config = QUICK.model_copy(update={"steps": 16, "prompts": 128, "passes": 2.0})
    assert [config.steps_for(examples) for examples in (10, 243, 976, 5000)] == [1, 4, 16, 16]
    assert QUICK.steps_for(1) == QUICK.steps


def test_prompts_must_be_a_multiple_of_updates() -> None:
    with pytest.raises(ValidationError, match="multiple of updates"):
        TRL(prompts=10, updates=4)


def test_all_examples_are_used_equally_often(examples: list[Example]) -> None:
    used = [example.id for step in range(9) for example in step_examples(examples, step, 4, seed=5)]
    assert {used.count(example.id) for example in examples} == {6}
    assert [e.id for e in step_examples(examples[:1], 0, 3, seed=5)] == ["q0"] * 3


def test_settings_survive_json() -> None:
    assert TRL.model_validate(json.loads(QUICK.model_dump_json())) == QUICK


def test_with_several_gpus_one_process_takes_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """TRL refuses to start where transformers would copy the model to each GPU."""
    arguments = OneProcessConfig(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    arguments.device  # noqa: B018 (transformers counts the GPUs here)
    monkeypatch.setattr(arguments, "_n_gpu", 8)
    assert arguments.n_gpu == 1
