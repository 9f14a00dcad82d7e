"""Compares `sample` with transformers' own `generate`: 28 questions with a picture x 9 answers, on one thread.

The model has the size of the shipped tiny model (1.4 M parameters), and end tokens spread so that answers have 1 to 64
tokens, 33 on average. Both are timed in CPU seconds of this process, which other processes disturb less.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from tasks.engines.decode import sample
from tasks.engines.inputs import messages
from tasks.engines.request import Request, Sampling
from tasks.records.picture import Picture
from tasks.records.prompt import Prompt
from tests.fixtures.tiny_vlm import TinyShape, tiny_picture, write_tiny_vlm

QUESTIONS, ANSWERS, TOKENS = 28, 9, 64


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    import numpy as np
    import torch

    from tasks.engines.transformers import load

    torch.set_num_threads(1)
    shape = TinyShape(hidden=128, layers=4, intermediate=384, vision_hidden=128, vision_layers=4, vocabulary=880)
    folder = write_tiny_vlm(tmp_path_factory.mktemp("bench") / "model", shape)
    model, processor = load(str(folder), "cpu", "float32")
    ends = np.random.default_rng(0).choice(np.arange(7, 300), 9, replace=False).tolist()
    model.generation_config.eos_token_id = [*model.generation_config.eos_token_id, *ends]
    return model, processor


@pytest.fixture(scope="module")
def requests() -> list[Request]:
    return [
        Request(
            Prompt("How many red circles are in row 2 of it? Sum" + " and 2" * (i % 6)),
            Picture(str(i), tiny_picture(i)),
            None,
            Sampling(TOKENS),
            ANSWERS,
            seed=i,
        )
        for i in range(QUESTIONS)
    ]


def generate(model: Any, processor: Any, requests: list[Request]) -> Any:
    """All requests in one padded batch."""
    import torch

    texts = [
        processor.apply_chat_template(
            messages(request.prompt, picture=True), add_generation_prompt=True, tokenize=False
        )
        for request in requests
    ]
    images = [request.picture.image for request in requests if request.picture is not None]
    inputs = processor(text=texts, images=images, return_tensors="pt", padding=True, padding_side="left")
    with torch.inference_mode():
        return model.generate(
            **inputs, max_new_tokens=TOKENS, do_sample=True, top_k=0, top_p=1.0, num_return_sequences=ANSWERS
        )


@pytest.mark.bench
@pytest.mark.timeout(600)
def test_sampling_is_several_times_faster_than_generate(
    benchmark: Any, loaded: tuple[Any, Any], requests: list[Request]
) -> None:
    seconds: dict[str, float] = {}
    for name, work in {"generate": generate, "sample": sample}.items():
        times = []
        for _ in range(2):
            start = time.process_time()
            work(*loaded, requests)
            times.append(time.process_time() - start)
        seconds[name] = min(times)
    samples = benchmark.pedantic(sample, args=(*loaded, requests), rounds=2)
    tokens = sum(len(sampled.ids) for group in samples for sampled in group)
    ratio = seconds["generate"] / seconds["sample"]
    benchmark.extra_info.update(
        ratio=round(ratio, 1),
        sequences_per_second=round(QUESTIONS * ANSWERS / seconds["sample"]),
        tokens_per_second=round(tokens / seconds["sample"]),
        generate_sequences_per_second=round(QUESTIONS * ANSWERS / seconds["generate"]),
    )
    print(f"\n{benchmark.extra_info}")
    assert ratio >= 4, benchmark.extra_info
