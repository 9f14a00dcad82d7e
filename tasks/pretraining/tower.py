"""Train the vision tower to read pictures before any language: a small head answers questions from its features.

When the tower was trained through the language model alone, it did not learn to read within 1 300 steps: the loss of a
reply is mostly language, which gives the tower a weak signal. Here each picture answers up to twelve questions at once,
through two cross-attentions over its sixteen visual tokens. Questions and answers are entries of a vocabulary; the head
is thrown away afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tasks.pretraining.schedule import warmup_cosine
from tasks.pretraining.vision import patches, picture_features
from tasks.settings.base import Settings
from tasks.world import DOMAINS, Scene
from tasks.world.splits import PRETRAINING

if TYPE_CHECKING:
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration

UNKNOWN = -100
"""Target of a position without a question; the loss ignores it."""


class TowerPretraining(Settings):
    """The recipe of the vision tower."""

    steps: int = Field(600, ge=1)
    horizon: int = Field(1200, ge=1)
    """Steps of the cosine. Training stops before its end, since the tower learns on with the whole model."""
    pictures: int = Field(128, ge=1)
    """New pictures a step."""
    questions: int = Field(12, ge=1)
    """Most questions a picture."""
    learning_rate: float = Field(1.5e-3, gt=0)
    warmup: int = Field(50, ge=0)
    weight_decay: float = Field(0.05, ge=0)
    seed: int = 0


@dataclass(frozen=True)
class QuestionVocabulary:
    """Numbers for the world's questions and answers, as classes of the reading head."""

    questions: dict[str, int]
    answers: dict[str, int]

    @classmethod
    def of(cls, scenes: Sequence[Scene]) -> QuestionVocabulary:
        """All questions and answers of these scenes, in the order of their first occurrence."""
        pairs = [pair for scene in scenes for pair in every_question(scene)]
        return cls(_numbered([question for question, _ in pairs]), _numbered([answer for _, answer in pairs]))

    def draw(self, scene: Scene, count: int, rng: Random) -> tuple[list[int], list[int]]:
        """Numbers of up to `count` known questions of a scene and of their answers, padded to `count`."""
        known = [
            (self.questions[q], self.answers[a])
            for q, a in every_question(scene)
            if q in self.questions and a in self.answers
        ]
        chosen = rng.sample(known, min(count, len(known)))
        padding = [0] * (count - len(chosen))
        return [q for q, _ in chosen] + padding, [a for _, a in chosen] + [UNKNOWN] * len(padding)


def every_question(scene: Scene) -> Iterator[tuple[str, str]]:
    """Each question of the family's templates that the scene decides, with its answer."""
    for template in scene.family.templates:
        for slots in template.fillings(scene.facts):
            solution = template.solve(scene.facts, slots, Random(0))
            if solution is not None:
                yield template.text.format(**slots), solution.answer


def _numbered(texts: Sequence[str]) -> dict[str, int]:
    return {text: number for number, text in enumerate(dict.fromkeys(texts))}


def draw_tower_scenes(count: int, seed: int, step: int) -> list[Scene]:
    """Draw a step's scenes; domains and levels are random, seeds come from the range for pretraining."""
    rng = Random(f"tower/{seed}/{step}")
    return [Scene(rng.choice(DOMAINS), rng.randint(1, 3), PRETRAINING.draw(rng)) for _ in range(count)]


def reading_head(width: int, vocabulary: QuestionVocabulary) -> torch.nn.Module:
    """A module from features float32 [n, 16, width] and question numbers int64 [n, q] to logits [n, q, answers]."""
    import torch
    from torch import nn

    class ReadingHead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.question = nn.Embedding(len(vocabulary.questions), width)
            self.place = nn.Parameter(torch.randn(16, width) * 0.3)
            self.norm = nn.LayerNorm(width)
            self.attentions = nn.ModuleList(
                nn.MultiheadAttention(width, width // 32, batch_first=True) for _ in range(2)
            )
            self.feed_forwards = nn.ModuleList(
                nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width))
                for _ in range(2)
            )
            self.answer = nn.Linear(width, len(vocabulary.answers))

        def forward(self, features: torch.Tensor, questions: torch.Tensor) -> Any:
            tokens, state = self.norm(features) + self.place, self.question(questions)
            for attention, feed_forward in zip(self.attentions, self.feed_forwards, strict=True):
                state = state + attention(state, tokens, tokens, need_weights=False)[0]
                state = state + feed_forward(state)
            return self.answer(state)

    return ReadingHead()


def pretrain_tower(
    model: Qwen2_5_VLForConditionalGeneration, recipe: TowerPretraining, on_step: Callable[[int, float], None]
) -> None:
    """Train `model.model.visual` in place; the language model does not change."""
    import torch
    from torch.nn import functional as F

    torch.manual_seed(recipe.seed)
    sample = [scene for step in range(47) for scene in draw_tower_scenes(128, recipe.seed, -1 - step)]
    vocabulary, rng = QuestionVocabulary.of(sample), Random(recipe.seed)
    head = reading_head(int(model.model.visual.config.out_hidden_size), vocabulary)
    learned = [*model.model.visual.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in learned if p.ndim >= 2], "weight_decay": recipe.weight_decay},
            {"params": [p for p in learned if p.ndim < 2], "weight_decay": 0.0},
        ],
        recipe.learning_rate,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: warmup_cosine(step, recipe.warmup, recipe.horizon)
    )
    for step in range(recipe.steps):
        scenes = draw_tower_scenes(recipe.pictures, recipe.seed, step)
        questions, answers = zip(*(vocabulary.draw(scene, recipe.questions, rng) for scene in scenes), strict=True)
        features = picture_features(model, patches([scene.image() for scene in scenes]))
        logits = head(features, torch.tensor(questions))
        loss = F.cross_entropy(logits.flatten(0, 1), torch.tensor(answers).flatten(), ignore_index=UNKNOWN)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        schedule.step()
        on_step(step, float(loss.detach()))
