"""A family is one domain of the micro world: how its facts are drawn by lot, pictured, described and asked about.

A family never stores a picture: a scene is `(domain, level, seed)`, and everything else follows from it. The facts
behind a picture answer every question of the family's templates exactly, so the world is also an oracle.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Generic, TypeVar

from tasks.records import AnswerKind
from tasks.world.canvas import Canvas

Facts = TypeVar("Facts")
Slots = Mapping[str, str]
"""A filling of a template: text by slot name."""

LEVELS = (1, 2, 3)


@dataclass(frozen=True)
class Solution:
    """An exact answer and one valid way of reasoning to it, in words."""

    steps: str
    answer: str


@dataclass(frozen=True)
class QuestionTemplate(Generic[Facts]):
    """A question with slots, the fillings that make sense for given facts, and the solution."""

    text: str
    """The question, with slots in braces: `what is the value of the {a} bar?`."""
    answer_kind: AnswerKind
    fillings: Callable[[Facts], Sequence[Slots]]
    solve: Callable[[Facts, Slots, Random], Solution | None]
    """Draws one of several valid ways of reasoning; the answer does not depend on the draw. None where the picture does
    not decide the question."""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The template as a regular expression with one group for each slot."""
        parts = re.split(r"\{(\w+)\}", self.text)
        literal = [re.escape(part) if i % 2 == 0 else f"(?P<{part}>[a-z0-9]+)" for i, part in enumerate(parts)]
        return re.compile("".join(literal))


@dataclass(frozen=True)
class Family(Generic[Facts]):
    """One domain of the world."""

    name: str
    facts: Callable[[Random, int], Facts]
    """Draws what the picture shows, from a generator and a level 1..3."""
    draw: Callable[[Canvas, Facts, Random], None]
    """Draws the facts on a canvas; the generator decides only looks (position, tint), never content."""
    captions: Callable[[Facts], Sequence[str]]
    """True descriptions, from the shortest to the most exact."""
    templates: tuple[QuestionTemplate[Facts], ...]


def fill_pairs(names: Sequence[str]) -> list[Slots]:
    """All ordered pairs of different names, in the slots `a` and `b`."""
    return [{"a": a, "b": b} for a in names for b in names if a != b]


def fill_each(slot: str, values: Sequence[object]) -> list[Slots]:
    """One filling for each value."""
    return [{slot: str(value)} for value in values]


def no_slots(_: object) -> list[Slots]:
    """The only filling of a template without slots."""
    return [{}]


def addition(values: Sequence[int]) -> str:
    """The sum in words: `3 + 5 + 2 = 10`."""
    return f"{' + '.join(map(str, values))} = {sum(values)}"


def subtraction(a: int, b: int) -> str:
    """The difference in words, the larger number first: `5 - 3 = 2`."""
    return f"{max(a, b)} - {min(a, b)} = {abs(a - b)}"


def shuffled(items: Sequence[str], rng: Random) -> list[str]:
    """The items in a random order."""
    return rng.sample(list(items), len(items))


def maybe_reversed(items: Sequence[str], rng: Random) -> list[str]:
    """The items in their order or in the reverse order, equally likely."""
    return list(items) if rng.random() < 0.5 else list(reversed(items))
