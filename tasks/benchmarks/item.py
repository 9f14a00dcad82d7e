"""What a benchmark asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tasks.records import AnswerKind
from tasks.records.prompt import Picture

Form = Literal["open", "letter", "letters", "yes or no"]
"""What an answer looks like: words or a number, one option, all of several options, or a plain yes or no."""


@dataclass(frozen=True)
class BenchmarkItem:
    """One question about one picture, and its answer."""

    id: str
    domain: str
    """Its category, by which scores are told apart."""
    question: str
    """As it is put to the Solver; a multiple choice question carries its options."""
    kind: AnswerKind
    target: str
    """The right answer: an option's letter (several in alphabetical order: `AC`), `yes`, `no`, or what it is."""
    picture: Picture
    form: Form = "open"
    options: tuple[tuple[str, str], ...] = ()
    """Letters and texts; a text is empty where the options stand in the picture only."""
    also: tuple[str, ...] = ()
    """Other answers that are right, too."""
    tolerance: float = 0.0
    """How far off a number may be."""
    cluster: str | None = None
    """What it shares with other items, which are then no independent evidence."""
    attributes: tuple[str, ...] = ()
    """`name=value` of what the benchmark's own metric goes by."""
