"""A scene is one picture of the micro world; (domain, level, seed) decide all of it, byte for byte."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any
from urllib.parse import quote, unquote

from PIL import Image

from tasks.records import AnswerKind
from tasks.world.canvas import Canvas, paper
from tasks.world.cells import GRIDS, MAPS, TABLES, VENNS
from tasks.world.charts import BARS, LINES, PIES
from tasks.world.family import LEVELS, Family, QuestionTemplate, Solution
from tasks.world.instruments import ANGLES, BALANCES, CLOCKS, DIALS, NUMBER_LINES, RULERS
from tasks.world.objects import COUNTING, ILLUSIONS, PLAIN

FAMILIES: dict[str, Family[Any]] = {
    family.name: family
    for family in (
        PLAIN, COUNTING, BARS, PIES, LINES, CLOCKS, DIALS, NUMBER_LINES,
        BALANCES, ANGLES, GRIDS, TABLES, MAPS, VENNS, ILLUSIONS, RULERS,
    )
}  # fmt: skip
DOMAINS = tuple(FAMILIES)
TRIVIAL = PLAIN.name
"""The domain of most pictures in a corpus of this world, as trivial pictures are most of the open web."""

_URL = re.compile(r"world://([a-z%0-9]+)/(\d+)\?seed=(\d+)")


@dataclass(frozen=True)
class SceneQuestion:
    """A question about one scene, with one way of reasoning to its exact answer."""

    text: str
    kind: AnswerKind
    solution: Solution


@dataclass(frozen=True)
class Scene:
    """One picture and the facts behind it."""

    domain: str
    level: int
    seed: int

    @property
    def url(self) -> str:
        """The address in a shard's `url` column, by which the oracle finds the facts."""
        return f"world://{quote(self.domain)}/{self.level}?seed={self.seed}"

    @property
    def family(self) -> Family[Any]:
        return FAMILIES[self.domain]

    def random(self, purpose: str) -> Random:
        """A random generator that depends on this scene and the purpose alone."""
        return Random(f"{purpose}/{self.domain}/{self.level}/{self.seed}")

    @cached_property
    def facts(self) -> Any:
        return self.family.facts(self.random("facts"), self.level)

    def image(self) -> Image.Image:
        """The picture: RGB, 112 x 112."""
        rng = self.random("look")
        canvas = Canvas(paper(rng))
        self.family.draw(canvas, self.facts, rng)
        return canvas.image()

    def png(self) -> bytes:
        buffer = io.BytesIO()
        self.image().save(buffer, "PNG")
        return buffer.getvalue()

    def captions(self) -> tuple[str, ...]:
        """True descriptions, from the shortest to the most exact."""
        return tuple(self.family.captions(self.facts))

    def draw_question(self, rng: Random) -> SceneQuestion:
        """A random question, each template equally likely, and one way of reasoning to its answer."""
        choices = [(template, template.fillings(self.facts)) for template in self.family.templates]
        template, fillings = rng.choice([(template, fillings) for template, fillings in choices if fillings])
        slots = rng.choice(fillings)
        solution = template.solve(self.facts, slots, rng)
        assert solution is not None, f"{self.url}: {template.text} {slots} has no answer"
        return SceneQuestion(template.text.format(**slots), template.answer_kind, solution)

    def solve(self, question: str, rng: Random) -> Solution | None:
        """One way of reasoning to the exact answer.

        None where the question fits no template, or where the picture does not decide it.
        """
        for template, slots in self._matching_templates(question):
            solution = template.solve(self.facts, slots, rng)
            if solution is not None:
                return solution
        return None

    def _matching_templates(self, question: str) -> list[tuple[QuestionTemplate[Any], dict[str, str]]]:
        """The family's templates that the question fills, with their slots."""
        matches = [(template, template.pattern.fullmatch(question)) for template in self.family.templates]
        return [(template, match.groupdict()) for template, match in matches if match]


def parse_url(url: str) -> Scene | None:
    """The scene of a `world://` address; None for any other address."""
    match = _URL.fullmatch(url)
    if match is None:
        return None
    domain, level, seed = unquote(match[1]), int(match[2]), int(match[3])
    return Scene(domain, level, seed) if domain in FAMILIES and level in LEVELS else None
