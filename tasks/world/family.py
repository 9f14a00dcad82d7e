"""What a domain of the micro world is: how its facts are drawn by lot, shown, described, and asked about.

A family never stores a picture: a scene is `(domain, level, seed)`, and everything else follows from it. The facts
behind a picture answer every question of the family's grammar exactly, so the world is also an oracle.
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

LEVELS = (1, 2, 3)


@dataclass(frozen=True)
class Solution:
    """An exact answer and one valid way to it, in words."""

    steps: str
    answer: str


@dataclass(frozen=True)
class Kind(Generic[Facts]):
    """One kind of question: a template with slots, the fillings that make sense, and its solution.

    `solve` draws one of several valid ways of reasoning from the generator it is given; the answer does not depend on
    it. It returns None where the question cannot be answered from the picture.
    """

    template: str
    answer: AnswerKind
    options: Callable[[Facts], Sequence[Slots]]
    solve: Callable[[Facts, Slots, Random], Solution | None]

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The template as a regular expression with one group a slot."""
        parts = re.split(r"\{(\w+)\}", self.template)
        literal = [re.escape(part) if i % 2 == 0 else f"(?P<{part}>[a-z0-9]+)" for i, part in enumerate(parts)]
        return re.compile("".join(literal))


@dataclass(frozen=True)
class Family(Generic[Facts]):
    """One domain of the world."""

    name: str
    facts: Callable[[Random, int], Facts]
    """(generator, level 1..3) -> what the picture shows."""
    draw: Callable[[Canvas, Facts, Random], None]
    """Shows the facts; the generator decides only looks (position, tint), never content."""
    captions: Callable[[Facts], Sequence[str]]
    """True descriptions, from the shortest to the most exact."""
    kinds: tuple[Kind[Facts], ...]


def pairs(names: Sequence[str]) -> list[Slots]:
    """All ordered pairs of different names, as slots `a` and `b`."""
    return [{"a": a, "b": b} for a in names for b in names if a != b]


def each(slot: str, values: Sequence[object]) -> list[Slots]:
    """One filling a value."""
    return [{slot: str(value)} for value in values]


def once(_: object) -> list[Slots]:
    """The single filling of a template without slots."""
    return [{}]


def total(values: Sequence[int]) -> str:
    """`3 + 5 + 2 = 10`."""
    return f"{' + '.join(map(str, values))} = {sum(values)}"


def gap(a: int, b: int) -> str:
    """`5 - 3 = 2`, the larger first."""
    return f"{max(a, b)} - {min(a, b)} = {abs(a - b)}"


def shuffled(items: Sequence[str], rng: Random) -> list[str]:
    """The items in a random order."""
    return rng.sample(list(items), len(items))


def either_way(items: Sequence[str], rng: Random) -> list[str]:
    """The items forwards or backwards."""
    return list(items) if rng.random() < 0.5 else list(reversed(items))
