"""The vision tower is trained alone, on questions that the oracle answers."""

from __future__ import annotations

from random import Random
from typing import Any

from tasks.pretraining.tower import (
    QuestionVocabulary,
    TowerPretraining,
    draw_tower_scenes,
    every_question,
    pretrain_tower,
)
from tasks.world import Scene, oracle
from tasks.world.splits import PRETRAINING


def test_the_tower_is_trained_on_seeds_for_pretraining_only() -> None:
    assert all(scene.seed in PRETRAINING for scene in draw_tower_scenes(50, 0, 3))


def test_the_vocabulary_holds_the_oracles_answers() -> None:
    scene = Scene("bar charts", 3, 17)
    assert all(oracle.answer(scene.url, question) == answer for question, answer in every_question(scene))
    vocabulary = QuestionVocabulary.of([scene])
    questions, answers = vocabulary.draw(scene, 4, Random(0))
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
