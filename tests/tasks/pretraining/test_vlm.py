"""Pretraining computes the same as transformers, and the shipped model's files are complete and small."""

from __future__ import annotations

from random import Random
from typing import Any

from tasks.pretraining.vision import patches, picture_features
from tasks.pretraining.vlm import Pretraining, encode, rate, reply_loss, step_chunks
from tasks.settings.overlay import ROOT
from tasks.world import DOMAINS, Scene
from tasks.world.examples import solver_example

SCENES = [Scene(domain, 2, 10**8 + i) for i, domain in enumerate(DOMAINS[:4])]


def test_the_batched_tower_and_the_loss_equal_transformers(shipped: tuple[Any, Any]) -> None:
    import torch

    model, processor = shipped
    examples = [solver_example(scene, Random(1)) for scene in SCENES]
    images = [scene.image() for scene in SCENES]
    content = [{"type": "image"}, {"type": "text", "text": ""}]
    texts = []
    for example in examples:
        content[1]["text"] = example.prompt
        head = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        texts.append(f"{head}{example.reply}<|im_end|>")
    inputs = processor(text=texts, images=images, return_tensors="pt", padding=True, padding_side="right")
    chunk = encode(examples, range(4), processor.tokenizer)
    with torch.no_grad():
        pixels = patches(images)
        features = picture_features(model, pixels)
        theirs = model.model.visual(inputs["pixel_values"], inputs["image_grid_thw"]).pooler_output
        logits = model(**inputs).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), chunk.targets.flatten(), reduction="sum")
        torch.testing.assert_close(pixels, inputs["pixel_values"], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(features.flatten(0, 1), theirs, atol=1e-3, rtol=1e-4)
        assert chunk.ids.tolist() == inputs["input_ids"].tolist()
        torch.testing.assert_close(reply_loss(model, chunk, features), loss, atol=1e-2, rtol=1e-4)


def test_the_rates_warm_up_and_end_near_zero() -> None:
    recipe = Pretraining()
    assert rate(0, recipe) < 0.05
    assert rate(recipe.warmup, recipe) > 0.95
    assert 0 < rate(recipe.steps - 1, recipe) < 0.01


def test_examples_of_one_step_cover_all_roles(shipped: tuple[Any, Any]) -> None:
    chunks = step_chunks(SCENES, Pretraining(chunk=5), shipped[1].tokenizer, Random(0))
    assert sum(len(chunk.ids) for chunk in chunks) == 4 * 2 + 2 + 4 + 4
    assert [chunk.pictures is None for chunk in chunks] == [False, False, True]


def test_the_shipped_tokenizer_round_trips_any_text(shipped: tuple[Any, Any]) -> None:
    tokenizer = shipped[1].tokenizer
    for text in ("halves 1 + 6 = 7 \\boxed{7}", "Zażółć gęślą jaźń 𝛼", "<think>a clock</think>"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_the_shipped_models_are_small() -> None:
    files = [path for path in (ROOT / "infra" / "models").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 30e6
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".jinja", ".md"}
