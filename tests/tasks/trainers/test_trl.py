from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.engines.request import Adapter, Request, Sampling
from tasks.engines.transformers import Transformers
from tasks.records import Step
from tasks.settings.errors import UserError
from tasks.settings.fingerprint import fingerprint_fields
from tasks.store import Place, Store
from tasks.trainers import TRL, LoRA
from tasks.trainers.checkpoints import StoredCheckpoints
from tasks.trainers.example import Example, Reward, Rollout
from tasks.trainers.grpo import Diverged, prompts_of

Weights = dict[str, Any]

QUICK = TRL(
    steps=2, prompts=4, rollouts=4, max_tokens=6, learning_rate=1e-2, beta=0.0, lora=LoRA(rank=4, alpha=8), device="cpu"
)


def early(rollouts: Sequence[Rollout]) -> list[Reward]:
    """Letters of the first half of the alphabet, as a share of the text."""
    return [Reward(_share(one.text, "abcdefghijklm"), {"letters": _share(one.text, "xyz")}) for one in rollouts]


def equal(rollouts: Sequence[Rollout]) -> list[Reward]:
    return [Reward(0.5) for _ in rollouts]


def _share(text: str, letters: str) -> float:
    return sum(letter in letters for letter in text) / max(len(text), 1)


def weights(folder: Path) -> Weights:
    from safetensors.torch import load_file

    return load_file(folder / "adapter_model.safetensors")


def same(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(bool((one[name] == other[name]).all()) for name in one)


@pytest.fixture(scope="session")
def trained(model: Path, examples: list[Example], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Step]]:
    """An adapter of twelve steps."""
    out = tmp_path_factory.mktemp("trained")
    config = QUICK.model_copy(update={"steps": 12, "prompts": 6, "rollouts": 16, "learning_rate": 3e-2})
    return out, config.train(str(model), None, examples, early, out, seed=1)


def test_a_learnable_reward_rises(trained: tuple[Path, list[Step]]) -> None:
    rewards = [step.reward for step in trained[1]]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.06


def test_steps_hold_what_was_measured(trained: tuple[Path, list[Step]]) -> None:
    steps = trained[1]
    assert [step.step for step in steps] == list(range(1, 13))
    assert all(step.learning_rate == 3e-2 and step.grad_norm > 0 and 0 < step.tokens <= 6 for step in steps)
    assert all(0 < step.active <= 1 and step.kl == 0 for step in steps)
    assert steps[0].reward_terms == ("letters",)
    assert len(steps[0].reward_term_means) == 1


def test_the_adapter_loads_in_peft_and_in_the_engine(
    model: Path, examples: list[Example], trained: tuple[Path, list[Step]]
) -> None:
    from peft import PeftModel
    from transformers import Qwen2_5_VLForConditionalGeneration

    base = Qwen2_5_VLForConditionalGeneration.from_pretrained(model)
    loaded = PeftModel.from_pretrained(base, str(trained[0]))
    assert loaded.peft_config["default"].r == 4
    engine = Transformers(device="cpu").open(str(model))
    adapter = Adapter("trained", trained[0])
    asked = [Request(e.prompt, e.picture, adapter, Sampling(6), n=16, seed=i) for i, e in enumerate(examples)]
    texts = [done.text for group in engine.generate(asked) for done in group]
    engine.close()
    assert sum(_share(text, "abcdefghijklm") for text in texts) / len(texts) > trained[1][0].reward + 0.06


def test_the_adapter_touches_the_language_model_alone(trained: tuple[Path, list[Step]]) -> None:
    names = list(weights(trained[0]))
    assert names
    assert all("language_model.layers" in name for name in names)


def test_an_adapter_names_no_place_of_this_machine(model: Path, trained: tuple[Path, list[Step]]) -> None:
    assert str(model.parent) not in (trained[0] / "adapter_config.json").read_text()
    assert {file.name for file in trained[0].iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}


def test_the_same_seed_gives_the_same_rewards_and_another_one_others(
    model: Path, examples: list[Example], tmp_path: Path
) -> None:
    one, again, other = (
        QUICK.train(str(model), None, examples, early, tmp_path / name, seed=seed)
        for name, seed in (("one", 1), ("again", 1), ("other", 2))
    )
    assert [step.reward for step in one] == [step.reward for step in again]
    assert same(weights(tmp_path / "one"), weights(tmp_path / "again"))
    assert [step.reward for step in one] != [step.reward for step in other]


def test_training_goes_on_from_the_start_and_the_kl_is_measured_from_it(
    model: Path, examples: list[Example], trained: tuple[Path, list[Step]], tmp_path: Path
) -> None:
    start = Adapter("trained", trained[0])
    config = QUICK.model_copy(update={"steps": 3, "beta": 0.05, "learning_rate": 1e-3})
    steps = config.train(str(model), start, examples, early, tmp_path, seed=3)
    assert abs(steps[0].kl) < 1e-6
    assert steps[-1].kl > 1e-6
    before, after = weights(trained[0]), weights(tmp_path)
    assert before.keys() == after.keys()
    assert not same(before, after)
    assert all((before[name] - after[name]).abs().max() < 0.02 for name in before)


def test_kept_weights_lie_between_the_start_and_the_trained_ones(
    model: Path, examples: list[Example], tmp_path: Path, trained: tuple[Path, list[Step]]
) -> None:
    start, settings = Adapter("start", trained[0]), QUICK.model_copy(update={"steps": 1})
    for name, share in (("whole", 1.0), ("half", 0.5)):
        part = settings.model_copy(update={"weight_averaging": share})
        part.train(str(model), start, examples, early, tmp_path / name, seed=3)
    first, whole, half = (weights(folder) for folder in (trained[0], tmp_path / "whole", tmp_path / "half"))
    assert not same(first, whole)
    for name, value in half.items():
        assert value.allclose((first[name] + whole[name]) / 2, atol=1e-6)


def test_groups_of_equal_rewards_change_nothing(model: Path, examples: list[Example], tmp_path: Path) -> None:
    config = QUICK.model_copy(update={"beta": 0.1, "weight_decay": 0.1})
    steps = config.train(str(model), None, examples, equal, tmp_path, seed=1)
    assert [(step.active, step.loss, step.grad_norm) for step in steps] == [(0.0, 0.0, 0.0)] * 2
    assert all((tensor == 0).all() for name, tensor in weights(tmp_path).items() if "lora_B" in name)


def test_how_rollouts_are_batched_does_not_change_what_is_learned(
    model: Path, examples: list[Example], tmp_path: Path
) -> None:
    import torch

    for loss_type in ("dapo", "grpo"):
        results = []
        for split in ({}, {"micro_batch": 60, "row_tokens": 50}):
            config = QUICK.model_copy(update={"steps": 1, "loss_type": loss_type, "beta": 0.01, **split})
            out = tmp_path / f"{loss_type}{len(split)}"
            steps = config.train(str(model), None, examples, early, out, seed=1)
            results.append((steps[0].loss, steps[0].grad_norm))
        assert torch.allclose(*map(torch.tensor, results), rtol=1e-3, atol=1e-6)


def test_resources_do_not_affect_fingerprint() -> None:
    moved = QUICK.model_copy(update={"threads": 7, "device": "cuda", "micro_batch": 9, "row_tokens": 3})
    assert fingerprint_fields(moved) == fingerprint_fields(QUICK)


def test_several_updates_a_step_measure_the_kl_and_clip(model: Path, examples: list[Example], tmp_path: Path) -> None:
    config = QUICK.model_copy(update={"updates": 2, "beta": 0.01})
    steps = config.train(str(model), None, examples, early, tmp_path, seed=1)
    assert len(steps) == 2
    assert steps[0].kl > 0


def test_full_fine_tuning_leaves_a_model_whose_vision_tower_is_unchanged(
    model: Path, examples: list[Example], tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    config = QUICK.model_copy(update={"lora": None, "beta": 0.01, "learning_rate": 1e-3})
    steps = config.train(str(model), None, examples, early, tmp_path, seed=1)
    before, after = (load_file(folder / "model.safetensors") for folder in (model, tmp_path))
    changed = {name for name in before if not (before[name] == after[name]).all()}
    assert any("layers.0.mlp" in name for name in changed)
    assert not any("visual" in name for name in changed)
    assert abs(steps[0].kl) < 1e-6 < steps[1].kl
    Transformers(device="cpu").open(str(tmp_path)).close()


def test_weights_that_are_no_numbers_are_never_written(
    model: Path, examples: list[Example], trained: tuple[Path, list[Step]], tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    spoilt = weights(trained[0])
    next(iter(spoilt.values())).fill_(math.nan)
    (tmp_path / "start").mkdir()
    save_file(spoilt, tmp_path / "start" / "adapter_model.safetensors")
    (tmp_path / "start" / "adapter_config.json").write_bytes((trained[0] / "adapter_config.json").read_bytes())
    with pytest.raises(Diverged, match="no longer finite"):
        QUICK.train(str(model), Adapter("nan", tmp_path / "start"), examples, early, tmp_path / "out", seed=1)
    assert not (tmp_path / "out").exists()


def test_an_interrupted_training_goes_on_from_its_checkpoint_to_the_same_adapter(
    model: Path, examples: list[Example], trained: tuple[Path, list[Step]], tmp_path: Path
) -> None:
    start, calls = Adapter("trained", trained[0]), []

    def cut(rollouts: Sequence[Rollout]) -> list[Reward]:
        calls.append(len(rollouts))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return early(rollouts)

    config = QUICK.model_copy(update={"steps": 4, "beta": 0.1, "save_steps": 2})
    place = Place.round(Store(str(tmp_path / "store")), "default", 1)
    kept = StoredCheckpoints(place.partial_results("7-train-solver", {}))
    with pytest.raises(KeyboardInterrupt):
        config.train(str(model), start, examples, cut, tmp_path / "cut", seed=1, checkpoints=kept)
    kept = StoredCheckpoints(place.partial_results("7-train-solver", {}))
    resumed = config.train(str(model), start, examples, cut, tmp_path / "cut", seed=1, checkpoints=kept)
    assert len(calls) == 4 + 2
    whole = config.train(str(model), start, examples, early, tmp_path / "whole", seed=1)
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
    """Only a GPU runs out of memory with an error that can be caught, so here the scorer says it has."""
    import torch

    from tasks.trainers import grpo, packing

    config, start = QUICK.model_copy(update={"beta": 0.1, "row_tokens": 1}), Adapter("trained", trained[0])
    whole = config.train(str(model), start, examples, early, tmp_path / "whole", seed=1)
    sizes = list[int]()

    def small(model: Any, batch: packing.Pack, temperature: float) -> Any:
        sizes.append(batch.ids.numel())
        if batch.ids.numel() > 150 or len(sizes) == 8:  # also in the middle of an update
            raise torch.OutOfMemoryError("CUDA out of memory")
        return packing.score(model, batch, temperature)

    monkeypatch.setattr(grpo, "score", small)
    halved = config.train(str(model), start, examples, early, tmp_path / "halved", seed=1)
    assert max(sizes) > 150 > sizes[-1]
    assert "out of memory: micro-batches of" in caplog.text
    assert [step.reward for step in halved] == [step.reward for step in whole]
    one, other = weights(tmp_path / "halved"), weights(tmp_path / "whole")
    assert all(torch.allclose(one[name], other[name], atol=1e-4) for name in other)


def test_a_row_that_is_too_large_for_the_memory_is_an_error(
    model: Path, examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from tasks.trainers import grpo

    def never(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(grpo, "score", never)
    with pytest.raises(torch.OutOfMemoryError):
        QUICK.train(str(model), None, examples, early, tmp_path / "out", seed=1)


def test_a_reward_that_is_no_number_is_an_error(model: Path, examples: list[Example], tmp_path: Path) -> None:
    def broken(rollouts: Sequence[Rollout]) -> list[Reward]:
        return [Reward(math.nan) for _ in rollouts]

    with pytest.raises(ValueError, match="not finite"):
        QUICK.train(str(model), None, examples, broken, tmp_path / "out", seed=1)


def test_training_is_silent(
    model: Path, examples: list[Example], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    QUICK.train(str(model), None, examples, early, tmp_path, seed=1)
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
def test_what_cannot_be_trained_is_one_line(
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
        QUICK.train(str(source), start, some, early, tmp_path / "out", seed=1)
    assert "\n" not in str(caught.value)


def test_an_adapter_of_another_rank_is_one_line(
    model: Path, examples: list[Example], trained: tuple[Path, list[Step]], tmp_path: Path
) -> None:
    config = QUICK.model_copy(update={"lora": LoRA(rank=8, alpha=8)})
    with pytest.raises(UserError, match=r"rank is 8, the adapter .* has 4"):
        config.train(str(model), Adapter("trained", trained[0]), examples, early, tmp_path, seed=1)


def test_few_examples_take_few_steps() -> None:
    config = QUICK.model_copy(update={"steps": 16, "prompts": 128, "passes": 2.0})
    assert [config.steps_for(examples) for examples in (10, 243, 976, 5000)] == [1, 4, 16, 16]
    assert QUICK.steps_for(1) == QUICK.steps


def test_prompts_that_do_not_split_into_updates_are_refused() -> None:
    with pytest.raises(ValidationError, match="multiple of updates"):
        TRL(prompts=10, updates=4)


def test_every_example_comes_up_as_often_as_any_other(examples: list[Example]) -> None:
    drawn = [example.id for step in range(9) for example in prompts_of(examples, step, 4, seed=5)]
    assert {drawn.count(example.id) for example in examples} == {6}
    assert [e.id for e in prompts_of(examples[:1], 0, 3, seed=5)] == ["q0"] * 3


def test_settings_survive_json() -> None:
    assert TRL.model_validate(json.loads(QUICK.model_dump_json())) == QUICK
