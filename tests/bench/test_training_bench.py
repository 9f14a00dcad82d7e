"""A GRPO step and its sampling beside what a user would take instead, and our two ways beside each other.

One tiny Qwen2.5-VL, the same pictures, prompts and numbers of rollouts, in one run, on one thread. Completions have
1 to 24 tokens in ours and in TRL's.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tasks.engines import decode, general
from tasks.engines.inputs import messages
from tasks.engines.request import Request, Sampling
from tasks.records.picture import Picture
from tasks.records.prompt import Prompt
from tasks.trainers import TRL, LoRA, Training
from tasks.trainers.example import Example, Reward, Rollout
from tasks.trainers.forward import PaddedForward
from tests.fixtures.tiny_vlm import TinyShape, tiny_picture, write_tiny_vlm

PROMPTS, ROLLOUTS, TOKENS, STEPS, REPEATS = 16, 8, 24, 2, 3
SIDE = 224
"""64 visual tokens a picture."""
OURS = TRL(
    steps=STEPS, prompts=PROMPTS, rollouts=ROLLOUTS, max_tokens=TOKENS, beta=0.0, lora=LoRA(rank=8, alpha=16),
    device="cpu", drop_uniform_groups=False, row_tokens=512,
)  # fmt: skip


def length(rollouts: Sequence[Rollout]) -> list[Reward]:
    return [Reward(len(rollout.text) + i % 3) for i, rollout in enumerate(rollouts)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shape = TinyShape(hidden=128, layers=4, intermediate=384, vision_hidden=128, vision_layers=4, vocabulary=880)
    return write_tiny_vlm(tmp_path_factory.mktemp("bench") / "model", shape)


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return [
        Example(f"q{i}", Prompt(f"How many red circles are in row {i}?"), Picture(f"p{i}", tiny_picture(i, SIDE, SIDE)))
        for i in range(PROMPTS)
    ]


def ours(config: TRL, folder: Path, examples: list[Example], scratch: Path, general_way: bool = False) -> float:
    """Seconds of the steps, without loading."""
    training = Training(str(folder), None, examples, length, scratch / "out", seed=1)
    trainer = config._trainer(training, *config._policy(training), scratch, rollout_engine=None)
    if general_way:
        trainer._scorer.way = PaddedForward()
    started = time.process_time()
    trainer.train()
    return time.process_time() - started


def plain_trl(folder: Path, examples: list[Example], scratch: Path) -> float:
    """TRL's own trainer with its own sampling, rewards a function as in its documentation."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import GRPOConfig, GRPOTrainer

    from tasks.engines.architecture import language_linears
    from tasks.engines.transformers import load

    model, processor = load(str(folder), "cpu", "float32")
    rows = [{"prompt": messages(e.prompt, picture=True), "image": e.picture.image} for e in examples if e.picture]
    arguments = GRPOConfig(
        output_dir=str(scratch), max_steps=STEPS, per_device_train_batch_size=PROMPTS * ROLLOUTS,
        num_generations=ROLLOUTS, max_completion_length=TOKENS, beta=0.0, use_cpu=True, bf16=False, report_to="none",
        gradient_checkpointing=False, save_strategy="no", disable_tqdm=True, logging_steps=1, learning_rate=1e-4,
    )  # fmt: skip
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=lambda completions, **_: [float(len(each[0]["content"])) for each in completions],
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=processor,
        peft_config=LoraConfig(r=8, lora_alpha=16, target_modules=language_linears(model)),
    )
    started = time.process_time()
    trainer.train()
    return time.process_time() - started


def median(work: Callable[[], float]) -> float:
    return statistics.median(work() for _ in range(REPEATS))


@pytest.mark.bench
@pytest.mark.timeout(900)
def test_a_step_beside_plain_trl(benchmark: Any, folder: Path, examples: list[Example], tmp_path: Path) -> None:
    import torch

    torch.set_num_threads(1)
    alone = replace_rows(OURS, 1)
    seconds = {
        "ours, prompts shared": median(lambda: ours(OURS, folder, examples, tmp_path)),
        "ours, not shared": median(lambda: ours(alone, folder, examples, tmp_path)),
        "ours, general way": median(lambda: ours(OURS, folder, examples, tmp_path, general_way=True)),
        "plain TRL": median(lambda: plain_trl(folder, examples, tmp_path)),
    }
    best = seconds["ours, prompts shared"]
    for name, value in seconds.items():
        print(f"step, {name}: {value / STEPS:.2f} CPU s ({value / best:.1f} x)")
    benchmark.extra_info.update(seconds)
    benchmark.pedantic(lambda: None)


def replace_rows(config: TRL, row_tokens: int) -> TRL:
    return config.model_copy(update={"row_tokens": row_tokens})


@pytest.mark.bench
@pytest.mark.timeout(600)
def test_sampling_by_both_ways(benchmark: Any, folder: Path, examples: list[Example]) -> None:
    import torch

    from tasks.engines.transformers import load

    torch.set_num_threads(1)
    model, processor = load(str(folder), "cpu", "float32")
    requests = [Request(e.prompt, e.picture, None, Sampling(TOKENS), ROLLOUTS, seed=1) for e in examples]
    seconds = {}

    def in_general(model: Any, processor: Any, requests: list[Request]) -> Any:
        return general.sample(model, general.encode(processor, requests), requests)

    for name, sample in (("fast", decode.sample), ("general", in_general)):
        seconds[name] = median(lambda sample=sample: timed(lambda: sample(model, processor, requests)))  # type: ignore[misc]
        print(f"sampling, {name} way: {seconds[name]:.2f} CPU s")
    print(f"the general way takes {seconds['general'] / seconds['fast']:.1f} x as long")
    benchmark.extra_info.update(seconds)
    benchmark.pedantic(lambda: None)


@pytest.mark.bench
def test_preprocessing_of_a_picture_on_the_host(benchmark: Any, folder: Path) -> None:
    """A JPEG of a megapixel to patches: decoding, resizing and cutting, on one thread."""
    from tasks.engines.transformers import load
    from tests.fixtures.photographs import photograph

    _, processor = load(str(folder), "cpu", "float32")
    processor.image_processor.size.longest_edge = 1_003_520
    picture = Picture("p", photograph(1, (1154, 866))[1])
    benchmark(lambda: processor.image_processor(images=[picture.image], return_tensors="pt"))


def timed(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started
