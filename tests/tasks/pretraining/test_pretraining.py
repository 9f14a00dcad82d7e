"""Pretraining computes what transformers computes, and the shipped models do what their card says."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from tasks.config import load_config
from tasks.pretraining.clip import ClipPretraining, clip_loss, draw_pairs
from tasks.pretraining.tower import Book, TowerPretraining, draw_pictures, every_question, pretrain_tower
from tasks.pretraining.vlm import Pretraining, encode, lesson_loss, patches, picture_features, rate, step_chunks
from tasks.records.prompt import Prompt
from tasks.roles import questioner, searcher, solver
from tasks.settings.overlay import ROOT
from tasks.world import DOMAINS, Scene, oracle, scene_at
from tasks.world.lessons import questioner_lesson, searcher_lesson, solver_lesson
from tasks.world.splits import PRETRAINING

MODEL = ROOT / "infra" / "models" / "vlm"
SCENES = [scene_at(domain, 2, 10**8 + i) for i, domain in enumerate(DOMAINS[:4])]


@pytest.fixture(scope="module")
def shipped() -> tuple[Any, Any]:
    from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

    return Qwen2_5_VLForConditionalGeneration.from_pretrained(MODEL).eval(), AutoProcessor.from_pretrained(MODEL)


def test_the_batched_tower_and_the_loss_are_those_of_transformers(shipped: tuple[Any, Any]) -> None:
    import torch

    model, processor = shipped
    lessons = [solver_lesson(scene, Random(1)) for scene in SCENES]
    images = [scene.image() for scene in SCENES]
    content = [{"type": "image"}, {"type": "text", "text": ""}]
    texts = []
    for lesson in lessons:
        content[1]["text"] = lesson.prompt
        head = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        texts.append(f"{head}{lesson.reply}<|im_end|>")
    inputs = processor(text=texts, images=images, return_tensors="pt", padding=True, padding_side="right")
    chunk = encode(lessons, range(4), processor.tokenizer)
    with torch.no_grad():
        pixels = patches(images)
        features = picture_features(model, pixels)
        theirs = model.model.visual(inputs["pixel_values"], inputs["image_grid_thw"]).pooler_output
        logits = model(**inputs).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), chunk.targets.flatten(), reduction="sum")
        torch.testing.assert_close(pixels, inputs["pixel_values"], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(features.flatten(0, 1), theirs, atol=1e-3, rtol=1e-4)
        assert chunk.ids.tolist() == inputs["input_ids"].tolist()
        torch.testing.assert_close(lesson_loss(model, chunk, features), loss, atol=1e-2, rtol=1e-4)


def test_the_base_is_taught_the_very_prompts_of_the_embedded_config() -> None:
    prompts, scene, rng = load_config().prompts, SCENES[0], Random(0)
    lesson = solver_lesson(scene, rng)
    assert Prompt(lesson.prompt) == solver.prompt(prompts.solver, lesson.prompt, "short_answer")
    assert Prompt(questioner_lesson(scene, rng).prompt) == questioner.prompt(prompts.questioner)
    domain = searcher.Domain(name=scene.domain)
    assert Prompt(searcher_lesson(scene, rng).prompt) == searcher.prompt(prompts.searcher, domain)


def test_every_lesson_is_well_formed() -> None:
    for scene in SCENES:
        assert questioner.well_formed(questioner_lesson(scene, Random(2)).reply)
        assert searcher.well_formed(searcher_lesson(scene, Random(2)).reply)
        assert solver.well_formed(solver_lesson(scene, Random(2)).reply)


def test_the_shipped_tokenizer_round_trips_any_text(shipped: tuple[Any, Any]) -> None:
    tokenizer = shipped[1].tokenizer
    for text in ("halves 1 + 6 = 7 \\boxed{7}", "Zażółć gęślą jaźń 𝛼", "<think>a clock</think>"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_pretraining_draws_only_from_its_own_seeds() -> None:
    pictures = draw_pictures(50, 0, 3) + [scene for scene, _ in draw_pairs(ClipPretraining(pairs=50), 3)]
    assert all(scene.seed in PRETRAINING for scene in pictures)


def test_the_book_answers_as_the_oracle_does() -> None:
    scene = scene_at("bar charts", 3, 17)
    assert all(oracle.answer(scene.url, question) == answer for question, answer in every_question(scene))
    book = Book.of([scene])
    questions, answers = book.draw(scene, 4, Random(0))
    assert len(questions) == len(answers) == 4


def test_training_the_tower_changes_the_tower_and_nothing_else(shipped: tuple[Any, Any]) -> None:
    import copy

    import torch

    model = copy.deepcopy(shipped[0])
    losses: list[float] = []
    pretrain_tower(model, TowerPretraining(steps=2, pictures=4), lambda _, loss: losses.append(loss))
    assert len(losses) == 2
    before = dict(shipped[0].named_parameters())
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed
    assert all("visual" in name for name in changed)


def test_the_rates_warm_up_and_end_near_zero() -> None:
    recipe = Pretraining()
    assert rate(0, recipe) < 0.05
    assert rate(recipe.warmup, recipe) > 0.95
    assert 0 < rate(recipe.steps - 1, recipe) < 0.01


def test_lessons_of_one_step_cover_all_roles(shipped: tuple[Any, Any]) -> None:
    chunks = step_chunks(SCENES, Pretraining(chunk=5), shipped[1].tokenizer, Random(0))
    assert sum(len(chunk.ids) for chunk in chunks) == 4 * 2 + 2 + 4 + 4
    assert [chunk.pictures is None for chunk in chunks] == [False, False, True]


def test_equal_captions_are_positives_of_each_other() -> None:
    import torch

    together, apart = torch.tensor([[5.0, 5.0], [5.0, 5.0]]), torch.tensor([[5.0, 0.0], [0.0, 5.0]])
    assert clip_loss(together, ["a", "a"]) < clip_loss(apart, ["a", "a"])
    assert clip_loss(together, ["a", "b"]) > clip_loss(apart, ["a", "b"])


def test_the_shipped_models_are_small(tmp_path: Path) -> None:
    files = [path for path in (ROOT / "infra" / "models").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 30e6
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".jinja", ".md"}


def test_scenes_of_different_seeds_share_no_picture() -> None:
    assert len({Scene(domain, 1, seed).png() for domain in DOMAINS for seed in range(8)}) == 8 * len(DOMAINS)
