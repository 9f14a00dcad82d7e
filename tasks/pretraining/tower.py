"""Teaches the vision tower to read, before any language: a small head answers fixed questions from its features.

Learned through a language model alone, reading did not begin within 1 300 steps: the loss of a reply is mostly
language, and what is left tells the tower little. Here a picture answers up to twelve questions at once, through two
cross-attentions over its sixteen visual tokens. A question is an entry in a table and so is an answer; the head is then
thrown away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tasks.pretraining.vision import patches, picture_features
from tasks.settings.base import Settings
from tasks.world import DOMAINS, Scene
from tasks.world.splits import PRETRAINING

if TYPE_CHECKING:
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration

UNKNOWN = -100
"""Target of a place without a question."""


class TowerPretraining(Settings):
    """The recipe of the vision tower."""

    steps: int = Field(600, ge=1)
    horizon: int = Field(1200, ge=1)
    """Steps of the cosine; training stops before its end, since the whole model learns to read on."""
    pictures: int = Field(128, ge=1)
    """Fresh pictures a step."""
    questions: int = Field(12, ge=1)
    """Questions a picture, at most."""
    learning_rate: float = Field(1.5e-3, gt=0)
    warmup: int = Field(50, ge=0)
    weight_decay: float = Field(0.05, ge=0)
    seed: int = 0


@dataclass(frozen=True)
class Book:
    """Numbers for the world's questions and answers."""

    questions: dict[str, int]
    answers: dict[str, int]

    @classmethod
    def of(cls, scenes: Sequence[Scene]) -> Book:
        """All questions and answers of these scenes, in the order of their first occurrence."""
        pairs = [pair for scene in scenes for pair in every_question(scene)]
        return cls(_numbered([question for question, _ in pairs]), _numbered([answer for _, answer in pairs]))

    def draw(self, scene: Scene, count: int, rng: Random) -> tuple[list[int], list[int]]:
        """Up to `count` questions of a scene and their answers; a question outside the book is passed over."""
        known = [
            (self.questions[q], self.answers[a])
            for q, a in every_question(scene)
            if q in self.questions and a in self.answers
        ]
        chosen = rng.sample(known, min(count, len(known)))
        padding = [0] * (count - len(chosen))
        return [q for q, _ in chosen] + padding, [a for _, a in chosen] + [UNKNOWN] * len(padding)


def every_question(scene: Scene) -> Iterator[tuple[str, str]]:
    """Each question of the grammar that makes sense for the scene, with its answer."""
    for kind in scene.family.kinds:
        for slots in kind.options(scene.facts):
            solution = kind.solve(scene.facts, slots, Random(0))
            if solution is not None:
                yield kind.template.format(**slots), solution.answer


def _numbered(texts: Sequence[str]) -> dict[str, int]:
    return {text: number for number, text in enumerate(dict.fromkeys(texts))}


def draw_pictures(count: int, seed: int, step: int) -> list[Scene]:
    """Domains and levels by lot, seeds from the range that belongs to pretraining alone."""
    rng = Random(f"tower/{seed}/{step}")
    return [Scene(rng.choice(DOMAINS), rng.randint(1, 3), PRETRAINING.draw(rng)) for _ in range(count)]


def reading_head(width: int, book: Book) -> torch.nn.Module:
    """Question numbers int64 [n, q] and features float32 [n, 16, width] to logits [n, q, answers]."""
    import torch
    from torch import nn

    class ReadingHead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.question = nn.Embedding(len(book.questions), width)
            self.place = nn.Parameter(torch.randn(16, width) * 0.3)
            self.norm = nn.LayerNorm(width)
            self.look = nn.ModuleList(nn.MultiheadAttention(width, width // 32, batch_first=True) for _ in range(2))
            self.think = nn.ModuleList(
                nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width))
                for _ in range(2)
            )
            self.answer = nn.Linear(width, len(book.answers))

        def forward(self, features: torch.Tensor, questions: torch.Tensor) -> Any:
            seen, state = self.norm(features) + self.place, self.question(questions)
            for look, think in zip(self.look, self.think, strict=True):
                state = state + look(state, seen, seen, need_weights=False)[0]
                state = state + think(state)
            return self.answer(state)

    return ReadingHead()


def rate(step: int, recipe: TowerPretraining) -> float:
    """Warm-up, then half a cosine down to zero."""
    return min(1.0, (step + 1) / max(1, recipe.warmup)) * 0.5 * (1 + math.cos(math.pi * step / recipe.horizon))


def pretrain_tower(
    model: Qwen2_5_VLForConditionalGeneration, recipe: TowerPretraining, on_step: Callable[[int, float], None]
) -> None:
    """Trains `model.model.visual` in place; the language model is not touched."""
    import torch
    from torch.nn import functional as F

    torch.manual_seed(recipe.seed)
    book, rng = (
        Book.of([scene for step in range(47) for scene in draw_pictures(128, recipe.seed, -1 - step)]),
        Random(recipe.seed),
    )
    head = reading_head(int(model.model.visual.config.out_hidden_size), book)
    learned = [*model.model.visual.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in learned if p.ndim >= 2], "weight_decay": recipe.weight_decay},
            {"params": [p for p in learned if p.ndim < 2], "weight_decay": 0.0},
        ],
        recipe.learning_rate,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, recipe))
    for step in range(recipe.steps):
        scenes = draw_pictures(recipe.pictures, recipe.seed, step)
        questions, answers = zip(*(book.draw(scene, recipe.questions, rng) for scene in scenes), strict=True)
        features = picture_features(model, patches([scene.image() for scene in scenes]))
        logits = head(features, torch.tensor(questions))
        loss = F.cross_entropy(logits.flatten(0, 1), torch.tensor(answers).flatten(), ignore_index=UNKNOWN)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        schedule.step()
        on_step(step, float(loss.detach()))
