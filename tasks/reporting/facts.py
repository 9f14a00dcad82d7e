"""What a round's report says, before it is put into words or drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.benchmarks.statistics import wilson
from tasks.records import Decision, DomainDifficulty, LabelledQuestion, Row, Score, SearchResult, Step


class LabelAccuracy(Row):
    """How often the labels of kept questions, or of gold items, with about one agreement are right."""

    low: float
    high: float
    """Agreements from `low` up to, but without, `high`; the last band has those of 1 too."""
    questions: int
    """Kept questions about pictures of the world; or gold items."""
    answerable: int
    """Those that the world's oracle answers; the others lie outside its grammar, or the picture does not decide them.
    All gold items: their answers are known."""
    right: int
    """Those whose label is the oracle's or the known answer."""

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


def total(bands: Sequence[LabelAccuracy]) -> LabelAccuracy | None:
    """All bands as one; None where there are none."""
    if not bands:
        return None
    return LabelAccuracy(
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
    """95 % paired interval of the gain, over clusters where items come in such."""
    p: float | None
    """Exact McNemar test, adjusted for the number of benchmarks (Holm); None for a figure that is no yes or no."""

    @property
    def gain(self) -> float:
        return self.after - self.before


@dataclass(frozen=True)
class Replies:
    """What became of all replies that a score rests on, greedy and sampled."""

    asked: int
    unparsed: int
    """No answer could be read: counted as wrong."""
    truncated: int
    """Cut off at the longest length."""
    timeouts: int
    """Answers that the grader gave up: counted as wrong."""


def replies_of(rows: Sequence[Score]) -> Replies:
    """Over all items."""
    return Replies(
        asked=sum(1 + len(row.samples) for row in rows),
        unparsed=sum([row.greedy, *row.samples].count(None) for row in rows),
        truncated=sum(row.greedy_truncated + row.truncated for row in rows),
        timeouts=sum(row.timeouts for row in rows),
    )


@dataclass(frozen=True)
class Reach:
    """How much of a corpus a round's queries saw: whether the Searcher collapses onto few pictures."""

    domain: str
    """Empty for all together."""
    retrieved: int
    """Results of all queries, each as often as it was found."""
    distinct: int
    """Different pictures among them."""
    effective: float
    """exp of the entropy of what was retrieved: so many pictures, found equally often, would be as diverse."""
    share: float
    """Of the pictures that can be found, 0..1."""


def reach_of(rows: Sequence[SearchResult], findable: int) -> list[Reach]:
    """How much of `findable` pictures the queries saw: all together, then by domain."""
    seen = [row for row in rows if row.key is not None]
    domains = sorted({row.domain for row in seen})
    return [
        _reach(domain, [row.key for row in seen if domain in ("", row.domain)], findable) for domain in ["", *domains]
    ]


def _reach(domain: str, keys: Sequence[str | None], findable: int) -> Reach:
    counts = np.array(list(Counter(keys).values()), np.float64)
    shares = counts / counts.sum()
    effective = float(np.exp(-(shares * np.log(shares)).sum())) if len(counts) else 0.0
    return Reach(domain, len(keys), len(counts), effective, len(counts) / findable if findable else 0.0)


@dataclass(frozen=True)
class Facts:
    """All of a round that its report tells."""

    title: str
    decision: Decision
    changes: tuple[Change, ...]
    """Against the team that played before."""
    since_base: tuple[Change, ...]
    """Against the base (round 0); empty where that is what played before."""
    replies: Replies
    """Of the new Solver, on all benchmarks."""
    bands: tuple[LabelAccuracy, ...]
    """Empty where the corpus has no oracle, or no question was kept."""
    gold: tuple[LabelAccuracy, ...]
    """Items with known answers that were labelled among the questions: those that would have trained as questions."""
    frontier: Sequence[DomainDifficulty]
    verdicts: Sequence[LabelledQuestion]
    domains: Mapping[str, Mapping[str, int]]
    """How many pictures or questions by domain, for `corpus` (where known), `pool` and `curriculum`."""
    steps: Mapping[str, Sequence[Step]]
    """Training steps by role."""
    rejects: Mapping[str, Mapping[str, int]]
    """How many by reason, by stage."""
    seconds: Mapping[str, float]
    """By stage, in their order; a reused stage keeps the seconds of when it was played."""
    reach: Sequence[Reach] = ()
    """Of the search: by domain, and all together first."""
