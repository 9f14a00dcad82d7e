"""The figures of a round's report, before they are put into words, tables or charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tasks.benchmarks.statistics import wilson
from tasks.records import Decision, DomainDifficulty, LabelledQuestion, Row, Score, SearchResult, Step

if TYPE_CHECKING:
    import pandas as pd


class LabelAccuracy(Row):
    """Label accuracy of the kept questions, or of the gold items, in one bin of agreement."""

    low: float
    high: float
    """The bin: agreements from `low` up to, but without, `high`; the last bin includes 1."""
    questions: int
    """Kept questions about pictures of the micro world; or gold items."""
    answerable: int
    """Questions that the micro world's oracle answers. It has no answer to a question outside its grammar, or to one
    that the picture does not decide. All gold items are answerable."""
    right: int
    """Answerable questions with a label that equals the oracle's or the known answer."""

    @property
    def accuracy(self) -> float | None:
        """Share of right labels among answerable questions, 0..1; None without answerable questions."""
        return self.right / self.answerable if self.answerable else None

    @property
    def unanswerable(self) -> float:
        """Share of questions that the oracle does not answer, 0..1."""
        return 1 - self.answerable / self.questions if self.questions else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of `accuracy`."""
        return wilson(self.right, self.answerable)


def total(bins: Sequence[LabelAccuracy]) -> LabelAccuracy | None:
    """All bins as one; None without bins."""
    if not bins:
        return None
    return LabelAccuracy(
        low=min(row.low for row in bins),
        high=max(row.high for row in bins),
        questions=sum(row.questions for row in bins),
        answerable=sum(row.answerable for row in bins),
        right=sum(row.right for row in bins),
    )


@dataclass(frozen=True)
class Change:
    """One figure of one benchmark before and after the round; all in points (0..100)."""

    benchmark: str
    figure: str
    """Name of the figure: `mean of 8` (samples) or `greedy`."""
    items: int
    before: float
    after: float
    low: float
    high: float
    """95 % paired interval of the gain, over clusters of items where the benchmark has them."""
    p: float | None
    """p value of the exact McNemar test, adjusted for the number of benchmarks (Holm); None for `mean of k`."""

    @property
    def gain(self) -> float:
        """`after` less `before`, in points."""
        return self.after - self.before


@dataclass(frozen=True)
class Replies:
    """Counts of the replies behind a score, greedy and sampled."""

    total: int
    unparsed: int
    """Replies without an answer, counted as wrong."""
    truncated: int
    """Replies cut off at the maximum length."""
    timeouts: int
    """Answers on which the grader timed out, counted as wrong."""


def replies_of(rows: Sequence[Score]) -> Replies:
    """The counts over the replies to all items."""
    return Replies(
        total=sum(1 + len(row.samples) for row in rows),
        unparsed=sum([row.greedy, *row.samples].count(None) for row in rows),
        truncated=sum(row.greedy_truncated + row.truncated for row in rows),
        timeouts=sum(row.timeouts for row in rows),
    )


@dataclass(frozen=True)
class Coverage:
    """How much of the corpus a round's queries retrieved: low figures show a Searcher that collapses."""

    domain: str
    """Name of the domain; empty for all domains together."""
    retrieved: int
    """Search results, each picture as often as it was retrieved."""
    distinct: int
    """Distinct pictures among the search results."""
    effective: float
    """exp(entropy) of the search results: that many pictures, retrieved equally often, have the same entropy."""
    share: float
    """Distinct pictures as a share of the pictures in the index, 0..1."""


def coverage_of(rows: Sequence[SearchResult], indexed: int) -> list[Coverage]:
    """Coverage of a corpus with `indexed` pictures in its index: of all domains together, then by domain."""
    import pandas as pd

    retrieved = [(row.domain, row.key) for row in rows if row.key is not None]
    table = pd.DataFrame(retrieved, columns=["domain", "key"])
    by_domain = (_coverage(str(domain), part["key"], indexed) for domain, part in table.groupby("domain"))
    return [_coverage("", table["key"], indexed), *by_domain]


def _coverage(domain: str, keys: pd.Series[str], indexed: int) -> Coverage:
    shares = keys.value_counts(normalize=True, sort=False).to_numpy(np.float64)
    effective = float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0
    return Coverage(domain, len(keys), len(shares), effective, len(shares) / indexed if indexed else 0.0)


@dataclass(frozen=True)
class Verdict:
    """What is known about a pseudo-label: the true answer, and whether the label equals it."""

    truth: str
    right: bool


@dataclass(frozen=True)
class StageFacts:
    """A complete stage, as its manifest describes it."""

    name: str
    """Its folder: `6-filter`."""
    seconds: float
    """Duration of its work; a reused stage keeps the duration of its run."""
    rows: int
    counters: Mapping[str, int]


@dataclass(frozen=True)
class RoundFacts:
    """The figures of one round that its report shows."""

    title: str
    decision: Decision
    changes: tuple[Change, ...]
    """Changes against the team that the round started from."""
    since_base: tuple[Change, ...]
    """Changes against the base model (round 0); empty if the round started from it."""
    replies: Replies
    """Replies of the new Solver on all benchmarks."""
    label_accuracy: tuple[LabelAccuracy, ...]
    """Label accuracy of kept questions by agreement; empty if the corpus has no oracle, or no question was kept."""
    gold_accuracy: tuple[LabelAccuracy, ...]
    """Label accuracy of gold items in the window by agreement."""
    frontier: Sequence[DomainDifficulty]
    labelled: Sequence[LabelledQuestion]
    domains: Mapping[str, Mapping[str, int]]
    """Number of pictures or questions by domain, for `corpus` (where known), `pool` and `curriculum`."""
    steps: Mapping[str, Sequence[Step]]
    """Training steps by role."""
    rejects: Mapping[str, Mapping[str, int]]
    """Number of rejects by stage and reason."""
    seconds: Mapping[str, float]
    """Duration by stage, in their order; a reused stage keeps the duration of its run."""
    coverage: Sequence[Coverage] = ()
    """Coverage of the search: of all domains together, then by domain."""
