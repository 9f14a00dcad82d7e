"""One item of a benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tasks.records import AnswerKind
from tasks.records.picture import Picture

AnswerFormat = Literal["open", "letter", "letters", "yes or no"]
"""`open`: words or a number; `letter`: one option; `letters`: all right options of several; `yes or no`."""


@dataclass(frozen=True)
class BenchmarkItem:
    """A question about a picture, and its answer."""

    id: str
    domain: str
    """The item's category; scores are also reported by category."""
    question: str
    """The text that the Solver gets. A multiple-choice question includes its options."""
    kind: AnswerKind
    target: str
    """The right answer: an option's letter (several in alphabetical order: `AC`), `yes`, `no`, or the answer itself."""
    picture: Picture
    answer_format: AnswerFormat = "open"
    options: tuple[tuple[str, str], ...] = ()
    """Letters and texts. A text is empty where only the picture shows the options."""
    alternatives: tuple[str, ...] = ()
    """Further right answers."""
    decimals: int | None = None
    """Decimal places to which MathVista's authors round an answer before they compare it; of 0, they cut them off."""
    tolerance: float = 0.0
    """Greatest difference from the target at which a number is right."""
    cluster: str | None = None
    """Name shared by items that are no independent evidence (same seed question, problem or figure)."""
    attributes: tuple[str, ...] = ()
    """`name=value` pairs that the benchmark's own metric reads."""


@dataclass(frozen=True)
class RejectedRow:
    """A row that cannot be asked."""

    id: str
    reason: str
    """`no picture`, `no question`, `no answer`, `bad picture: ...`, `no such option: ...`."""

    @property
    def kind(self) -> str:
        """The reason without its details."""
        return self.reason.partition(":")[0]


@dataclass(frozen=True)
class BenchmarkRows:
    """What a benchmark's rows gave."""

    items: list[BenchmarkItem]
    """With unique ids, in the order of the rows."""
    rejected: list[RejectedRow]
