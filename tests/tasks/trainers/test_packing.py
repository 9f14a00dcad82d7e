"""Scores of rollouts that share a prompt's forward pass equal those of separate sequences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.engines.decode import encode
from tasks.engines.inputs import VisionCache, messages
from tasks.engines.request import Request, Sampling
from tasks.trainers.example import Example
from tasks.trainers.packing import PackedRow, PromptInputs, pack, prompt_inputs, score

COMPLETIONS = ((15, 19, 11), (40, 41, 42, 43, 44, 45, 2), (17,), (300, 301))
TEMPERATURE = 0.7


@pytest.fixture(scope="module")
def loaded(model: Path) -> tuple[Any, Any]:
    from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

    return Qwen2_5_VLForConditionalGeneration.from_pretrained(model).eval(), AutoProcessor.from_pretrained(model)


@pytest.fixture(scope="module")
def prompts(loaded: tuple[Any, Any], examples: list[Example]) -> list[PromptInputs]:
    model, processor = loaded
    requests = [Request(e.prompt, e.picture, None, Sampling(1)) for e in examples[:3]]
    with torch.no_grad():
        return [prompt_inputs(model, prompt) for prompt in encode(model, processor, requests, VisionCache())]


def rows(prompts: list[PromptInputs], share: int) -> list[PackedRow]:
    """Every prompt with all completions, `share` to a row; completions are numbered prompt by prompt."""
    packed, n = [], len(COMPLETIONS)
    for number, prompt in enumerate(prompts):
        for start in range(0, n, share):
            some = tuple(torch.tensor(ids) for ids in COMPLETIONS[start : start + share])
            packed.append(PackedRow(prompt, some, tuple(range(number * n + start, number * n + start + len(some)))))
    return packed


def alone(model: Any, processor: Any, example: Example, completion: tuple[int, ...]) -> torch.Tensor:
    """Log-probabilities by transformers' own forward pass over one sequence."""
    chat = messages(example.prompt, picture=example.picture is not None)
    text = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    images = None if example.picture is None else [example.picture.image]
    inputs = processor(text=[text], images=images, return_tensors="pt")
    ids = torch.cat([inputs["input_ids"], torch.tensor([completion])], dim=1)
    inputs |= {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    inputs["mm_token_type_ids"] = (ids == model.config.image_token_id).int()
    logits = model(**inputs).logits[0, -len(completion) - 1 : -1]
    logits[:, [model.config.image_token_id, model.config.video_token_id]] = -torch.inf
    return (logits / TEMPERATURE).log_softmax(-1).gather(-1, torch.tensor(completion)[:, None])[:, 0]


@torch.no_grad()
@pytest.mark.parametrize("share", [1, 3, 4])
def test_shared_prompts_keep_the_log_probabilities(
    loaded: tuple[Any, Any], prompts: list[PromptInputs], examples: list[Example], share: int
) -> None:
    logps, _ = score(loaded[0], pack(rows(prompts, share)), TEMPERATURE)
    for number, example in enumerate(examples[:3]):
        for place, completion in enumerate(COMPLETIONS):
            row = logps[number * len(COMPLETIONS) + place]
            assert torch.allclose(row[: len(completion)], alone(*loaded, example, completion), atol=2e-4)
            assert (row[len(completion) :] == 0).all()


def test_shared_prompts_keep_the_gradients(loaded: tuple[Any, Any], prompts: list[PromptInputs]) -> None:
    weight = loaded[0].model.language_model.layers[0].self_attn.k_proj.weight
    shared, separate = (
        torch.autograd.grad(score(loaded[0], pack(rows(prompts, share)), 1.0)[0].sum(), weight)[0] for share in (4, 1)
    )
    assert torch.allclose(shared, separate, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_entropy_is_that_of_the_distribution(loaded: tuple[Any, Any], prompts: list[PromptInputs]) -> None:
    _, entropies = score(loaded[0], pack(rows(prompts, 4)), 1e4)
    words = loaded[0].config.get_text_config().vocab_size
    assert torch.allclose(entropies[0, 0], torch.tensor(words - 2.0).log())


@torch.no_grad()
def test_scores_in_slices_of_the_head_are_the_same(
    loaded: tuple[Any, Any], prompts: list[PromptInputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = score(loaded[0], pack(rows(prompts, 4)), 1.0)
    monkeypatch.setattr("tasks.trainers.packing.HEAD_BYTES", 4 * 5 * 512)
    for expected, sliced in zip(whole, score(loaded[0], pack(rows(prompts, 4)), 1.0), strict=True):
        assert torch.allclose(expected, sliced, atol=1e-5)
