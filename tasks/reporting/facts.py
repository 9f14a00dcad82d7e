"""What a round's report says, before it is put into words or drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.records import Decision, Estimate, Row, Step, Verdict


class Band(Row):
    """How often the labels of kept questions with about one agreement are right, by the world's oracle."""

    low: float
    high: float
    """Agreements from `low` up to, but without, `high`."""
    questions: int
    """Kept questions about pictures of the world."""
    answerable: int
    """Those that the oracle answers; the others lie outside its grammar, or the picture does not decide them."""
    right: int
    """Those whose label is the oracle's answer."""

    @property
    def accuracy(self) -> float | None:
        """Share of right labels among answerable questions, 0..1; None where there are none."""
        return self.right / self.answerable if self.answerable else None

    @property
    def unanswerable(self) -> float:
        """Share of questions without an answer, 0..1."""
        return 1 - self.answerable / self.questions if self.questions else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of `accuracy`."""
        return wilson(self.right, self.answerable)


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927): right also for few trials and near 0 and 1; (0, 1) without trials."""
    if not trials:
        return 0.0, 1.0
    z, share = 1.96, successes / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def total(bands: Sequence[Band]) -> Band | None:
    """All bands as one; None where there are none."""
    if not bands:
        return None
    return Band(
        low=min(band.low for band in bands),
        high=max(band.high for band in bands),
        questions=sum(band.questions for band in bands),
        answerable=sum(band.answerable for band in bands),
        right=sum(band.right for band in bands),
    )


@dataclass(frozen=True)
class Change:
    """One figure of one benchmark before and after the round; all in points (0..100)."""

    benchmark: str
    figure: str
    """`mean of 8`, `greedy`."""
    items: int
    before: float
    after: float
    low: float
    high: float
    """95 % paired interval of the gain."""

    @property
    def gain(self) -> float:
        return self.after - self.before


@dataclass(frozen=True)
class Facts:
    """All of a round that its report tells."""

    title: str
    decision: Decision
    changes: tuple[Change, ...]
    bands: tuple[Band, ...]
    """Empty where the corpus has no oracle."""
    canaries: tuple[Band, ...]
    """Items with known answers that were labelled among the questions; those in the window."""
    frontier: Sequence[Estimate]
    verdicts: Sequence[Verdict]
    domains: Mapping[str, Mapping[str, int]]
    """How many pictures or questions by domain, for `corpus` (where known), `pool` and `curriculum`."""
    steps: Mapping[str, Sequence[Step]]
    """Training steps by role."""
    rejects: Mapping[str, Mapping[str, int]]
    """How many by reason, by stage."""
    seconds: Mapping[str, float]
    """By stage, in their order; a reused stage keeps the seconds of when it was played."""
