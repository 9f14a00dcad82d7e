"""What a benchmark asks."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.prompt import Picture
from tasks.records import AnswerKind


@dataclass(frozen=True)
class Item:
    """One question about one picture, and its answer."""

    id: str
    domain: str
    question: str
    """As it is put to the Solver; a multiple choice question carries its options."""
    kind: AnswerKind
    target: str
    """The right answer; of a multiple choice question the option's letter."""
    picture: Picture
