"""Several ranks make the updates of one, for adapters and for whole weights, also where ranks die."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from tasks.engines import decode
from tasks.engines.inputs import VisionCache
from tasks.engines.request import Request
from tasks.engines.transformers import load
from tasks.records import ExampleReward, Step, read_rows
from tasks.settings.errors import UserError
from tasks.store import Place, Store
from tasks.trainers import TRL, LoRA, Training, ranks
from tasks.trainers.checkpoints import StoredCheckpoints
from tasks.trainers.example import Example, Reward, Rollout
from tasks.trainers.grpo import Diverged
from tests.fixtures.ray_cluster import actor_processes, ray_cluster

CUT = 4
"""Steps after which a training is interrupted."""

ADAPTER = TRL(
    steps=10, prompts=6, rollouts=4, updates=2, max_tokens=6, learning_rate=1e-3, beta=0.05, save_steps=2,
    lora=LoRA(rank=4, alpha=8), device="cpu", micro_batch=200,
)  # fmt: skip
WHOLE = ADAPTER.model_copy(update={"lora": None, "learning_rate": 1e-4})


def letters(rollouts: Sequence[Rollout]) -> list[Reward]:
    return [Reward(len(set(rollout.text)) / 10 + i % 3) for i, rollout in enumerate(rollouts)]


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {name: weight for file in folder.glob("*.safetensors") for name, weight in load_file(file).items()}


def distance(first: Path, second: Path) -> float:
    one, other = weights(first), weights(second)
    assert one.keys() == other.keys() and one
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with ray_cluster():
        yield


@pytest.fixture(scope="module", params=[ADAPTER, WHOLE], ids=["adapter", "whole"])
def config(request: pytest.FixtureRequest) -> TRL:
    chosen: TRL = request.param
    return chosen


@pytest.fixture(scope="module")
def alone(
    config: TRL, model: Path, examples: list[Example], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Step]]:
    """What one rank in this process makes."""
    out = tmp_path_factory.mktemp("alone") / "out"
    training = Training(str(model), None, examples, letters, out, seed=1, rewards_out=out.parent / "rewards")
    return out, config.train(training)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_ranks_make_the_updates_of_one(
    cluster: None, config: TRL, alone: tuple[Path, list[Step]], model: Path, examples: list[Example], tmp_path: Path
) -> None:
    seen = list[Step]()
    training = Training(
        str(model), None, examples, letters, tmp_path / "out", seed=1, on_step=seen.append,
        rewards_out=tmp_path / "rewards",
    )  # fmt: skip
    steps = config.model_copy(update={"workers": 2}).train(training)
    assert distance(alone[0], tmp_path / "out") < 1e-5
    assert [step.reward for step in steps] == [step.reward for step in alone[1]]
    for name in ("loss", "kl", "grad_norm"):
        mine, its = ([getattr(step, name) for step in rows] for rows in (steps, alone[1]))
        assert torch.allclose(torch.tensor(mine), torch.tensor(its), rtol=1e-3, atol=1e-6)
    assert seen == steps
    told, expected = (read_rows(ExampleReward, path) for path in (tmp_path / "rewards", alone[0].parent / "rewards"))
    assert told == expected and len(told) == config.steps * config.prompts


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_rank_that_dies_costs_no_more_than_save_steps(
    cluster: None,
    config: TRL,
    alone: tuple[Path, list[Step]],
    model: Path,
    examples: list[Example],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls = list[int]()

    def deadly(rollouts: Sequence[Rollout]) -> list[Reward]:
        calls.append(len(rollouts))
        if len(calls) in (4, 8):
            os.kill(sorted(actor_processes("Rank"))[len(calls) // 4 - 1], signal.SIGKILL)
        return letters(rollouts)

    partial = Place.round(Store(str(tmp_path / "store")), "default", 1).partial_results("7-train-solver", {})
    seen = list[int]()
    training = Training(
        str(model), None, examples, deadly, tmp_path / "out", seed=1, checkpoints=StoredCheckpoints(partial),
        on_step=lambda step: seen.append(step.step),
    )  # fmt: skip
    config.model_copy(update={"workers": 2}).train(training)
    assert "all start again from the last checkpoint" in caplog.text
    assert len(calls) <= config.steps + 2 * config.save_steps
    assert seen == list(range(1, 11))
    assert distance(alone[0], tmp_path / "out") < 1e-5


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_another_number_of_ranks_resumes_to_the_same_weights(
    cluster: None, config: TRL, alone: tuple[Path, list[Step]], model: Path, examples: list[Example], tmp_path: Path
) -> None:
    place = Place.round(Store(str(tmp_path / "store")), "default", 1)
    calls = list[int]()

    def interrupted(rollouts: Sequence[Rollout]) -> list[Reward]:
        calls.append(len(rollouts))
        if len(calls) % CUT == 0:
            raise InterruptedError
        return letters(rollouts)

    for workers in (2, 1):
        partial = place.partial_results("7-train-solver", {})
        training = Training(
            str(model), None, examples, interrupted, tmp_path / "cut", seed=1, checkpoints=StoredCheckpoints(partial)
        )
        with pytest.raises(InterruptedError):
            config.model_copy(update={"workers": workers}).train(training)
        assert not (tmp_path / "cut").exists()
    last = StoredCheckpoints(place.partial_results("7-train-solver", {}))
    training = Training(str(model), None, examples, letters, tmp_path / "out", seed=1, checkpoints=last)
    steps = config.model_copy(update={"workers": 2}).train(training)
    assert [step.reward for step in steps] == [step.reward for step in alone[1]]
    assert distance(alone[0], tmp_path / "out") < 1e-5


class _LocalEngine:
    """Draws rollouts by a model of its own in the stage's process, as vLLM does."""

    leave_room_for_ranks = False

    def __init__(self, model: Path) -> None:
        self.folder, self.calls, self.reloads = model, 0, 0

    def for_policy(self, model: str, *, whole: bool) -> _LocalEngine:
        return self

    def fits(self, request: Request) -> bool:
        return request.picture is None or request.picture.key != "p4"

    def reload(self, folder: Path) -> None:
        self.folder, self.reloads = folder, self.reloads + 1

    def sample(self, requests: Sequence[Request]) -> Any:
        self.calls += 1
        base, processor = load(str(self.folder), "cpu", "float32")
        if (adapter := requests[0].adapter) is not None:
            base = PeftModel.from_pretrained(base, str(adapter.path))
        inner = base.get_base_model() if adapter else base
        encoded = decode.encode(inner, processor, requests, VisionCache())
        return [prompt.ids for prompt in encoded], decode.sample(base, processor, requests)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_stages_engine_draws_the_rollouts_of_all_ranks(
    cluster: None, config: TRL, model: Path, examples: list[Example], tmp_path: Path
) -> None:
    for workers in (1, 2):
        engines: Any = _LocalEngine(model)
        training = Training(str(model), None, examples, letters, tmp_path / str(workers), seed=1, engines=engines)
        config.model_copy(update={"workers": workers, "steps": 3}).train(training)
        assert (engines.calls, engines.reloads) == (3, 3 if config.lora is None else 0)
    assert distance(tmp_path / "1", tmp_path / "2") < 1e-5


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_errors_of_ranks_are_those_of_one_process(
    cluster: None, model: Path, examples: list[Example], tmp_path: Path
) -> None:
    def broken(rollouts: Sequence[Rollout]) -> list[Reward]:
        return [Reward(float("nan")) for _ in rollouts]

    two, wild, many = (
        ADAPTER.model_copy(update=update)
        for update in ({"workers": 2}, {"workers": 2, "learning_rate": 1e30}, {"workers": 9})
    )
    with pytest.raises(ValueError, match="a reward that is not finite"):
        two.train(Training(str(model), None, examples, broken, tmp_path / "out", seed=1))
    with pytest.raises(Diverged, match="lower the learning rate"):
        wild.train(Training(str(model), None, examples, letters, tmp_path / "out", seed=1))
    with pytest.raises(UserError, match="workers is 9, at 1 CPU each; the cluster has room for 3"):
        many.train(Training(str(model), None, examples, letters, tmp_path / "out", seed=1))
    assert not (tmp_path / "out").exists()


def test_shares_of_a_step_are_nearly_equal() -> None:
    sizes = [5, 1, 9, 3, 3, 7, 2]
    parts = ranks.balanced(sizes, 3)
    assert sorted(index for part in parts for index in part) == list(range(7))
    assert [sum(sizes[index] for index in part) for part in parts] == [10, 10, 10]
    assert ranks.balanced(sizes, 1) == [list(range(7))]
    assert ranks.balanced([4], 3) == [[0], [], []]
