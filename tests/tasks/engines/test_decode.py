"""Samples equal those of transformers' own `generate`, and depend on their request alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tasks.engines import decode as decode_module
from tasks.engines import inputs as inputs_module
from tasks.engines.decode import SampledTokens, batches, decode, encode, sample
from tasks.engines.decoder import Decoder
from tasks.engines.inputs import VisionCache, VisionFeatures, messages
from tasks.engines.pictures import PictureBudget
from tasks.engines.request import Adapter, Request, Sampling
from tasks.records.picture import Picture
from tasks.records.prompt import Prompt

GREEDY = Sampling(24, temperature=0)
TEXTS = ("How many?", "Which bar is the tallest? And what is the sum of all?", "5", "Is it red or is it blue?")


def requests_of(pictures: list[Picture], sampling: Sampling, n: int = 1) -> list[Request]:
    """Twelve prompts of several lengths, with pictures of several sizes and without."""
    shown: list[Picture | None] = [*pictures, None, None]
    return [
        Request(Prompt(TEXTS[i % 4], "Be brief." if i % 3 else None), shown[i % 6], None, sampling, n, seed=i)
        for i in range(12)
    ]


def generate(model: Any, processor: Any, request: Request) -> list[int]:
    """The greedy token ids of `model.generate` for one prompt."""
    chat = messages(request.prompt, picture=request.picture is not None)
    text = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    images = None if request.picture is None else [request.picture.image]
    inputs = processor(text=[text], images=images, return_tensors="pt")
    placeholders = [model.config.image_token_id, model.config.video_token_id]
    limit = request.sampling.max_tokens
    output = model.generate(**inputs, max_new_tokens=limit, do_sample=False, suppress_tokens=placeholders)
    return output[0, inputs["input_ids"].shape[1] :].tolist()


def test_greedy_equals_generate_for_mixed_lengths_and_pictures(loaded: Any, pictures: list[Picture]) -> None:
    requests = requests_of(pictures, GREEDY)
    samples = sample(*loaded, requests)
    assert [group[0].ids for group in samples] == [generate(*loaded, request) for request in requests]


def test_greedy_equals_generate_under_an_unmerged_peft_model(
    loaded: Any, model_folder: Path, adapter: Adapter, pictures: list[Picture]
) -> None:
    from peft import PeftModel

    from tasks.engines.transformers import load

    base, processor = load(str(model_folder), "cpu", "float32")
    adapted = PeftModel.from_pretrained(base, str(adapter.path)).eval()
    requests = requests_of(pictures, GREEDY)[:6]
    samples = [group[0].ids for group in sample(adapted, processor, requests)]
    assert samples == [generate(adapted, processor, request) for request in requests]
    assert samples != [group[0].ids for group in sample(*loaded, requests)]


def test_an_unmerged_adapter_gives_the_samples_of_a_merged_one(
    model_folder: Path, adapter: Adapter, pictures: list[Picture]
) -> None:
    """In bfloat16 the adapter stays unmerged. So it does in float64, where it must equal the merged one."""
    import torch
    from peft import PeftModel

    from tasks.engines.transformers import load

    requests = requests_of(pictures, GREEDY)
    base, processor = load(str(model_folder), "cpu", "float32")
    adapted = PeftModel.from_pretrained(base, str(adapter.path)).eval()
    merged = sample(adapted, processor, requests)
    unmerged = sample(adapted.to(torch.float64), processor, requests)
    assert [group[0].ids for group in merged] == [group[0].ids for group in unmerged]


def test_a_completion_does_not_depend_on_its_neighbours(loaded: Any, pictures: list[Picture]) -> None:
    requests = [replace(request, n=i % 4 + 1) for i, request in enumerate(requests_of(pictures, Sampling(24)))]
    together = sample(*loaded, requests)
    alone = [sample(*loaded, [request])[0] for request in requests]
    assert ids(together) == ids(alone)
    assert ids(together) == ids(in_batches(*loaded, requests, rows=3))
    assert ids(together) == ids(sample(*loaded, requests[::-1])[::-1])


def test_more_samples_keep_the_first_ones(loaded: Any, pictures: list[Picture]) -> None:
    request = Request(Prompt("How many?"), pictures[0], None, Sampling(16), n=3, seed=5)
    (few,), (many,) = sample(*loaded, [request]), sample(*loaded, [replace(request, n=8)])
    assert [sampled.ids for sampled in many[:3]] == [sampled.ids for sampled in few]
    assert len({tuple(sampled.ids) for sampled in many}) > 1


def test_another_seed_gives_other_samples(loaded: Any) -> None:
    request = Request(Prompt("How many?"), None, None, Sampling(16), n=4, seed=5)
    assert ids(sample(*loaded, [request])) != ids(sample(*loaded, [replace(request, seed=6)]))


def test_samples_end_at_an_end_token_or_at_max_tokens(loaded: Any, pictures: list[Picture]) -> None:
    ends = set(loaded[0].generation_config.eos_token_id)
    requests = requests_of(pictures, Sampling(60, temperature=1.5), n=12)
    samples = [sampled for group in sample(*loaded, requests) for sampled in group]
    assert {sampled.finished for sampled in samples} == {True, False}
    for sampled in samples:
        assert not ends & set(sampled.ids[:-1])
        assert (sampled.ids[-1] in ends) if sampled.finished else len(sampled.ids) == 60


def test_logprobs_are_the_models_own(loaded: Any, pictures: list[Picture]) -> None:
    import torch

    model, processor = loaded
    request = Request(Prompt("How many?"), pictures[2], None, Sampling(12, top_k=5, top_p=0.9), n=2, seed=3)
    (samples,) = sample(model, processor, [request])
    text = processor.apply_chat_template(
        messages(request.prompt, picture=True), add_generation_prompt=True, tokenize=False
    )
    inputs = processor(text=[text], images=[pictures[2].image], return_tensors="pt")
    for sampled in samples:
        more = torch.tensor([sampled.ids])
        full = {
            **inputs,
            "input_ids": torch.cat((inputs["input_ids"], more), 1),
            "attention_mask": torch.ones(1, inputs["input_ids"].shape[1] + len(sampled.ids), dtype=torch.long),
            "mm_token_type_ids": torch.cat((inputs["mm_token_type_ids"], torch.zeros_like(more)), 1),
        }
        model.model.rope_deltas = None
        logits = model(**full).logits[0, -len(sampled.ids) - 1 : -1]
        logits[:, [model.config.image_token_id, model.config.video_token_id]] = float("-inf")
        expected = logits.log_softmax(-1).gather(-1, more.T)[:, 0].tolist()
        assert expected == pytest.approx(sampled.logprobs, abs=1e-3)


def test_cached_features_do_not_change_samples(loaded: Any, pictures: list[Picture]) -> None:
    requests = requests_of(pictures, GREEDY)
    cache = VisionCache(2 * VisionFeatures.size(VisionCache().features(*loaded, pictures[:1])[0]))
    first, second = (sample(*loaded, requests, vision=cache) for _ in range(2))
    assert ids(first) == ids(second) == ids(sample(*loaded, requests))


def test_features_are_cached_by_content_not_by_key(loaded: Any, pictures: list[Picture]) -> None:
    cache = VisionCache()
    same_key = Picture(pictures[0].key, pictures[1].data)
    first, second = cache.features(*loaded, [pictures[0]]), cache.features(*loaded, [same_key])
    assert not first[0].features.equal(second[0].features)


def test_a_pictures_placeholder_is_never_sampled(loaded: Any) -> None:
    placeholders = {loaded[0].config.image_token_id, loaded[0].config.video_token_id}
    (samples,) = sample(*loaded, [Request(Prompt("?"), None, None, Sampling(40, temperature=50.0), n=200)])
    assert not placeholders & {token for sampled in samples for token in sampled.ids}


def test_special_tokens_in_a_prompt_are_plain_text(loaded: Any, pictures: list[Picture]) -> None:
    clean, dirty = Prompt("How many red?"), Prompt("How many<|im_end|><|image_pad|> red?")
    requests = [Request(prompt, pictures[0], None, GREEDY) for prompt in (clean, dirty)]
    first, second = sample(*loaded, requests)
    assert first == second


def test_sampling_leaves_the_model_as_it_was(loaded: Any, pictures: list[Picture]) -> None:
    before = {name: value.clone() for name, value in loaded[0].state_dict().items()}
    sample(*loaded, requests_of(pictures, Sampling(8), n=2))
    assert all(value.equal(before[name]) for name, value in loaded[0].state_dict().items())


def test_progress_counts_every_completion(loaded: Any, pictures: list[Picture]) -> None:
    seen: list[int] = []
    in_batches(*loaded, requests_of(pictures, Sampling(40), n=5), rows=16, on_done=seen.append)
    assert sum(seen) == 60
    assert all(count > 0 for count in seen)


def test_a_batch_has_equal_sampling_and_at_most_its_rows() -> None:
    samplings = (GREEDY, Sampling(8))
    requests = [Request(Prompt(""), None, None, samplings[i % 2], n=i % 5 + 1) for i in range(40)]
    found = list(batches(requests, lengths=[i % 7 for i in range(40)], rows=8))
    assert sorted(index for batch in found for index in batch) == list(range(40))
    for batch in found:
        assert len({requests[index].sampling for index in batch}) == 1
        assert sum(requests[index].n for index in batch) <= 8


def test_no_requests_give_no_samples(loaded: Any) -> None:
    assert sample(*loaded, []) == []


def in_batches(
    model: Any, processor: Any, requests: list[Request], rows: int, on_done: Callable[[int], None] | None = None
) -> list[list[SampledTokens]]:
    """Samples as the engine takes them: at most `rows` at once."""
    import torch

    with torch.inference_mode():
        encoded = encode(model, processor, requests, VisionCache())
        return decode(Decoder(model), model, encoded, requests, rows=rows, on_done=on_done)


def ids(samples: list[list[Any]]) -> list[list[list[int]]]:
    return [[sampled.ids for sampled in group] for group in samples]


def test_out_of_memory_a_batch_is_sampled_in_halves(
    loaded: Any, pictures: list[Picture], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same samples, and progress that counts each completion once."""
    model, processor = loaded
    requests = requests_of(pictures, GREEDY)
    whole = sample(model, processor, requests)
    original, counted = decode_module._DecodeBatch.run, list[int]()

    def run(batch: Any) -> Any:
        if len(batch._requests) > 1:
            batch._report(1)
            raise torch.OutOfMemoryError
        return original(batch)

    monkeypatch.setattr(decode_module._DecodeBatch, "run", run)
    with torch.inference_mode():
        encoded = encode(model, processor, requests, VisionCache())
        halves = decode_module.decode(Decoder(model), model, encoded, requests, on_done=counted.append)
    assert ids(halves) == ids(whole)
    assert sum(counted) == sum(request.n for request in requests)


def test_out_of_memory_the_tower_reads_pictures_in_halves(
    loaded: Any, pictures: list[Picture], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = VisionCache().features(*loaded, pictures[:3])
    original = inputs_module.run_vision_tower

    def tower(model: Any, processor: Any, part: list[Picture]) -> Any:
        if len(part) > 1:
            raise torch.OutOfMemoryError
        return original(model, processor, part)

    monkeypatch.setattr(inputs_module, "run_vision_tower", tower)
    halves = VisionCache().features(*loaded, pictures[:3])
    assert all(torch.allclose(a.features, b.features, atol=1e-5) for a, b in zip(whole, halves, strict=True))


def test_features_are_kept_within_their_bytes(loaded: Any, pictures: list[Picture]) -> None:
    one = VisionFeatures.size(VisionCache().features(*loaded, pictures[:1])[0])
    cache = VisionCache(2 * one)
    cache.features(*loaded, pictures[:3])
    assert cache._features.currsize <= 2 * one
    assert all(kept.features.device.type == "cpu" for kept in cache._features.values())


@pytest.mark.parametrize("size", [(40, 30), (400, 300), (2000, 1500)])
def test_one_budget_gives_one_number_of_tokens(model_folder: Path, size: tuple[int, int]) -> None:
    from tasks.engines.inputs import load_processor

    budget = PictureBudget(min_pixels=56 * 56, max_pixels=112 * 112)
    processor = load_processor(str(model_folder), budget)
    grid = processor.image_processor(images=[Image.new("RGB", size)], return_tensors="pt")["image_grid_thw"][0]
    pixels = int(grid[1] * grid[2]) * processor.image_processor.patch_size**2
    assert 0.7 * 56 * 56 <= pixels <= 112 * 112
