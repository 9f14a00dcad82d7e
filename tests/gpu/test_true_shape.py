"""What needs a GPU: `make test-gpu`. Memory, speed and precision of engine and trainer on models of the true shape.

`ACTIVE_ZERO_GPU_SIZES=3b,7b` names the sizes. Each test prints one JSON line of figures.
"""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.engines.pictures import PictureBudget
from tasks.engines.request import Request, Sampling
from tasks.engines.transformers import Transformers
from tasks.records.prompt import Prompt
from tasks.trainers import TRL, LoRA, Training
from tasks.trainers.example import Example, Reward, Rollout
from tests.gpu.true_shape import photograph, remove, write_true_shape

SIZES = (os.environ.get("ACTIVE_ZERO_GPU_SIZES") or "3b").split(",")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BUDGET = PictureBudget(min_pixels=200_704, max_pixels=1_003_520)
QUESTION = Prompt("How many red circles are there in the picture?")
TOKENS = int(os.environ.get("ACTIVE_ZERO_GPU_TOKENS") or 256)

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module", params=SIZES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A size and its model folder."""
    if DEVICE == "cpu" and request.param != "tiny":
        pytest.skip("no GPU")
    started = time.monotonic()
    folder = write_true_shape(tmp_path_factory.mktemp(request.param), request.param, DEVICE)
    figures("model", request.param, seconds=time.monotonic() - started)
    yield request.param, str(folder)
    remove(folder)


def figures(what: str, size: str, **values: float) -> None:
    card = torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"
    print(
        "FIGURES "
        + json.dumps({"what": what, "size": size, "card": card, **{k: round(v, 4) for k, v in values.items()}})
    )


def peak_gib() -> float:
    return torch.cuda.max_memory_allocated() / 2**30 if DEVICE == "cuda" else 0.0


def fresh() -> None:
    gc.collect()
    if DEVICE == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def lengths(rollouts: Sequence[Rollout]) -> list[Reward]:
    """A reward with a spread in each group."""
    return [Reward(float(i % 4), {}) for i, _ in enumerate(rollouts)]


def trainer(row_tokens: int, **settings: Any) -> TRL:
    return TRL(
        steps=2, prompts=8, rollouts=8, max_tokens=TOKENS, device=DEVICE, row_tokens=row_tokens, micro_batch=16384,
        precision="bfloat16" if DEVICE == "cuda" else "float32", lora=LoRA(rank=32, alpha=64),
        gradient_checkpointing=True, **settings,
    )  # fmt: skip


def examples(count: int = 16) -> list[Example]:
    return [Example(f"q{i}", QUESTION, photograph(i)) for i in range(count)]


def test_scoring(model: tuple[str, str]) -> None:
    """The frozen engine: pictures of a megapixel, a few answers each."""
    size, folder = model
    fresh()
    engine = Transformers(device=DEVICE, rows=512).open(folder, BUDGET)
    asked = [Request(QUESTION, photograph(i), None, Sampling(TOKENS), 8, i) for i in range(48)]
    engine.generate(asked[:2])
    started = time.monotonic()
    done = engine.generate(asked)
    seconds = time.monotonic() - started
    engine.close()
    assert [len(group) for group in done] == [8] * len(asked)
    tokens = sum(reply.tokens for group in done for reply in group)
    figures(
        "scoring", size, tokens_a_second=tokens / seconds, answers=len(asked) * 8, seconds=seconds, peak_gib=peak_gib()
    )


@pytest.mark.parametrize("row_tokens", [1, 4096], ids=["alone", "shared"])
def test_training_steps(model: tuple[str, str], row_tokens: int, tmp_path: Path) -> None:
    """Two GRPO steps on pictures of a megapixel; a prompt computed once a rollout, or once for all of its rollouts."""
    size, folder = model
    fresh()
    times: list[float] = []
    training = Training(
        folder, None, examples(), lengths, tmp_path / "out", 1, BUDGET, on_step=lambda _: times.append(time.monotonic())
    )
    started = time.monotonic()
    steps = trainer(row_tokens).train(training)
    figures(
        f"training, row_tokens={row_tokens}", size, first_step_s=times[0] - started, second_step_s=times[1] - times[0],
        kl=steps[-1].kl, grad_norm=steps[-1].grad_norm, peak_gib=peak_gib(),
    )  # fmt: skip
    assert steps[0].kl == pytest.approx(0, abs=1e-5), "before the first update the policy is its reference"


def test_the_gradient_pass_has_the_log_probabilities_of_the_scoring_pass(
    model: tuple[str, str], tmp_path: Path
) -> None:
    """Identical weights: the ratio of each token is 1, in bfloat16 too."""
    size, folder = model
    fresh()
    config = trainer(4096)
    training = Training(folder, None, examples(8), lengths, tmp_path / "out", 1, BUDGET)
    made = config._trainer(training, *config._policy(training), tmp_path, rollout_engine=None)
    part = made._updates_of_step(0)[0].parts[0]
    batch = made._micro_batch(part[:1])  # the training loop turns gradient checkpointing on, this test does not
    old = made._score(batch.inputs)
    made.policy.train()
    with made.accelerator.autocast():
        from tasks.trainers.packing import score

        new = score(made._base_model, batch.inputs, made.temperature)[0]
    ratio = (new.detach() - old).exp()[batch.mask.bool()]
    sampled = (old - batch.sampled).exp()[batch.mask.bool()]
    figures(
        "precision", size, off_by_a_percent=float(((ratio - 1).abs() > 0.01).float().mean()),
        sampler_off_by_a_percent=float(((sampled - 1).abs() > 0.01).float().mean()),
    )  # fmt: skip
    assert float(((ratio - 1).abs() > 0.01).float().mean()) == 0


def test_a_photograph_of_twelve_megapixels_is_within_the_budget(model: tuple[str, str]) -> None:
    size, folder = model
    engine = Transformers(device=DEVICE).open(folder, BUDGET)
    pictures = [photograph(1, 4000, 3000), photograph(2, 60, 4500), photograph(3, 120, 90)]
    replies = engine.generate([Request(QUESTION, picture, None, Sampling(8), 1, 1) for picture in pictures])
    engine.close()
    figures("twelve megapixels", size, peak_gib=peak_gib())
    assert [len(group) for group in replies] == [1, 1, 1]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU")
def test_with_several_gpus_a_training_uses_the_first(model: tuple[str, str], tmp_path: Path) -> None:
    _, folder = model
    training = Training(folder, None, examples(), lengths, tmp_path / "out", 1, BUDGET)
    assert len(trainer(4096).train(training)) == 2
