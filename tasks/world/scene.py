"""A scene of the micro world: everything about it follows from (domain, level, seed), byte for byte."""

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
from tasks.world.family import LEVELS, Family, Kind, Solution
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
"""The domain that fills most of an open web of this world."""

_URL = re.compile(r"world://([a-z%0-9]+)/(\d+)\?seed=(\d+)")


@dataclass(frozen=True)
class SceneQuestion:
    """A question of the grammar about one scene, with one way to its exact answer."""

    text: str
    kind: AnswerKind
    solution: Solution


@dataclass(frozen=True)
class Scene:
    """One picture of the world and the facts behind it."""

    domain: str
    level: int
    seed: int

    @property
    def url(self) -> str:
        """The address that stands in the shard's `url` column: the oracle finds the facts by it."""
        return f"world://{quote(self.domain)}/{self.level}?seed={self.seed}"

    @property
    def family(self) -> Family[Any]:
        return FAMILIES[self.domain]

    def random(self, purpose: str) -> Random:
        """A generator of this scene's own, one a purpose."""
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

    def question(self, rng: Random) -> SceneQuestion:
        """One question of the family's grammar, each kind equally likely, and one way to its answer."""
        choices = [(kind, kind.options(self.facts)) for kind in self.family.kinds]
        kind, options = rng.choice([(kind, options) for kind, options in choices if options])
        slots = rng.choice(options)
        solution = kind.solve(self.facts, slots, rng)
        assert solution is not None, f"{self.url}: {kind.template} {slots} has no answer"
        return SceneQuestion(kind.template.format(**slots), kind.answer, solution)

    def solve(self, question: str, rng: Random) -> Solution | None:
        """One way to the exact answer; None for a question outside the grammar or one that the picture leaves open."""
        for kind, slots in self._kinds_matching(question):
            solution = kind.solve(self.facts, slots, rng)
            if solution is not None:
                return solution
        return None

    def _kinds_matching(self, question: str) -> list[tuple[Kind[Any], dict[str, str]]]:
        """The kinds of the family whose template `question` fills, with the slots."""
        matches = [(kind, kind.pattern.fullmatch(question)) for kind in self.family.kinds]
        return [(kind, match.groupdict()) for kind, match in matches if match]


def scene_at(domain: str, level: int, seed: int) -> Scene:
    """The scene of this domain, level (1..3) and seed; ValueError where there is none."""
    if domain not in FAMILIES or level not in LEVELS or seed < 0:
        raise ValueError(f"no scene {domain!r}, level {level}, seed {seed}")
    return Scene(domain, level, seed)


def parse_url(url: str) -> Scene | None:
    """The scene that `url` names, or None if it names none."""
    match = _URL.fullmatch(url)
    if match is None:
        return None
    domain, level, seed = unquote(match[1]), int(match[2]), int(match[3])
    return Scene(domain, level, seed) if domain in FAMILIES and level in LEVELS else None
