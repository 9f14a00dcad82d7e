"""Every row that crosses from one stage to the next, and its Arrow schema.

Rows are frozen and refuse unknown fields. The Arrow schema is derived from the class, so a class is the only
declaration of a file's columns. Pictures travel as keys (`<shard stem>/<sample key>`), never as bytes. A row that was
dropped stays in its file with a `reason`; `reason is None` means that it was kept.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any, Literal, Self, Union, get_args, get_origin

import pyarrow as pa

from tasks.settings.base import Frozen

AnswerKind = Literal["short_answer", "numeric_value"]
Answers = tuple[str | None, ...]
"""One question's sampled answers; None where a reply holds none."""


class Row(Frozen):
    """One row of an artifact: frozen, closed, with an Arrow schema of its own."""

    @classmethod
    def arrow_schema(cls) -> pa.Schema:
        """The Arrow schema derived from the annotations; `X | None` becomes a nullable column."""
        return pa.schema([_field(name, info.annotation) for name, info in cls.model_fields.items()])

    @classmethod
    def from_table(cls, table: pa.Table) -> list[Self]:
        """The rows of an Arrow table whose columns are this class's fields."""
        return [cls.model_validate(record) for record in table.to_pylist()]


def to_table(row_type: type[Row], rows: Sequence[Any] | pa.Table) -> pa.Table:
    """Rows as an Arrow table with `row_type`'s schema (also when there are none). A table must have its columns."""
    if isinstance(rows, pa.Table):
        return rows.cast(row_type.arrow_schema())
    return pa.Table.from_pylist([row.model_dump() for row in rows], schema=row_type.arrow_schema())


_ARROW: dict[Any, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def _field(name: str, annotation: Any) -> pa.Field:
    nullable = get_origin(annotation) in (Union, types.UnionType) and type(None) in get_args(annotation)
    return pa.field(name, _arrow_type(annotation), nullable=nullable)


def _arrow_type(annotation: Any) -> pa.DataType:
    match get_origin(annotation), get_args(annotation):
        case (origin, (inner, other)) if origin in (Union, types.UnionType) and other is type(None):
            return _arrow_type(inner)
        case (origin, values) if origin is Literal and all(isinstance(value, str) for value in values):
            return pa.string()
        case (origin, (item, end)) if origin is tuple and end is ...:
            return pa.list_(_field("item", item))
    if annotation in _ARROW:
        return _ARROW[annotation]
    raise TypeError(f"{annotation} has no Arrow type: use str, int, float, bool, Literal[str], X | None, tuple[X, ...]")


class DomainDifficulty(Row):
    """How far the Solver agrees with itself in one domain, as measured by the probe."""

    domain: str
    questions: int
    """Pictures that were probed, each with one question: also those about which nothing could be asked."""
    agreement: float
    """Mean over the questions that could be asked, 0..1; 0 where none could."""
    difficulty: float
    """Mean of 1 - 2 |p - 1/2|: 1 at the frontier, 0 when always or never agreeing, or when nothing could be asked."""
    low: float
    high: float
    """95 % bootstrap interval of `difficulty`."""
    weight: float
    """Share of the Searcher's prompts and of the round's queries; smoothed towards even, sums to 1 over the rows."""


class SearchResult(Row):
    """One picture that a query retrieved, or a query that retrieves none. The kept ones form the round's pool."""

    domain: str
    query: str
    """As it was put to the corpus; where it was rejected, the Searcher's whole text."""
    key: str | None
    """Image key; None where the query itself was rejected."""
    rank: int
    """From 1 within the query; 0 where nothing was ranked: a rejected query, a picture drawn at random."""
    score: float
    """Cosine of the query's and the picture's vectors; 0 where nothing was ranked."""
    reason: str | None
    """Why it is not in the pool: the query's `Reject` reason, or `duplicate`, since another query fits it better."""


class Question(Row):
    """One question about one picture, as the Questioner wrote it."""

    id: str
    key: str
    domain: str
    kind: AnswerKind | None
    """None where the text could not be parsed."""
    text: str
    answer: str
    """The Questioner's own answer: kept to be read, never used as a label."""
    thought: str
    raw: str
    """The model's text before parsing."""
    reason: str | None
    """A `Reject` reason, or `duplicate`."""


class LabelledQuestion(Row):
    """What the Solver's own answers say of one question: its pseudo-label, agreement and whether it teaches."""

    id: str
    key: str
    domain: str
    kind: AnswerKind
    text: str
    answers: tuple[str | None, ...]
    """The sampled answers: m, or as many of them as settled it; None where no answer could be parsed."""
    label: str | None
    """The majority answer (pseudo-label); None on a tie or when nothing was parsed."""
    agreement: float
    """Share of the largest group of equal answers in all that were sampled, 0..1."""
    reason: str | None
    """Why it does not train; None means kept.

    `too hard`, `too easy`, `no majority`, `no answer`, `over quota`; `label not trusted`; a gate's `asked before`,
    `answer given away`, `not grounded`; or `gold item`.
    """
    target: str | None = None
    """The known answer of a gold item, whose key names no picture of the corpus."""


class Step(Row):
    """One step of a training stage: a generation of rollouts and the optimiser updates on it.

    Nothing of when or how fast, so that the same training has the same rows everywhere.
    """

    step: int
    reward: float
    """Mean reward of the step's rollouts."""
    reward_sd: float
    loss: float
    kl: float
    grad_norm: float
    learning_rate: float
    tokens: float
    """Mean completion length."""
    active: float
    """Share of groups whose rewards differ, 0..1: the only ones with advantages."""
    reward_terms: tuple[str, ...] = ()
    """What the rewards are made of, by name."""
    reward_term_means: tuple[float, ...] = ()
    """The mean of each term over the step's rollouts, in the order of `reward_terms`."""


class Score(Row):
    """One benchmark item, answered greedily and by k samples at temperature 1."""

    benchmark: str
    id: str
    domain: str
    """The item's category."""
    target: str
    greedy: str | None
    """The answer that was read from the greedy reply; None where none could be read (unparsed)."""
    greedy_correct: bool
    samples: tuple[str | None, ...]
    sample_accuracy: float
    """Share of the k samples that are right, 0..1: avg@k."""
    majority_correct: bool
    correct: tuple[bool, ...] = ()
    """Which of the samples are right."""
    cluster: str | None = None
    """What the item shares with others (seed question, problem, figure); None where it stands alone."""
    attributes: tuple[str, ...] = ()
    """`name=value` of what the benchmark's own metric goes by."""
    greedy_truncated: bool = False
    """The greedy reply was cut off."""
    truncated: int = 0
    """Samples that were cut off."""
    timeouts: int = 0
    """Answers to this item that the grader gave up: they count as wrong."""
    judged: bool | None = None
    """Whether the LLM judge finds the greedy answer right; False where there is none. None without a judge, or where it
    said neither yes nor no."""

    def attribute(self, name: str) -> str:
        """The value of an attribute; empty where the item has none of that name."""
        return next((one.partition("=")[2] for one in self.attributes if one.partition("=")[0] == name), "")


class Decision(Row):
    """Promoted or rolled back, and on what evidence. One row an artifact."""

    promoted: bool
    items: int
    mean_before: float
    mean_after: float
    mean_low: float
    mean_high: float
    """95 % paired bootstrap interval of the gain of the sampled mean, in points (0..100)."""
    greedy_before: float
    greedy_after: float
    greedy_low: float
    greedy_high: float
    why: str
    clusters: int = 0
    """Independent units among the items; 0 in artifacts from before they were counted."""
    greedy_won: int = 0
    """Items that greedy answers rightly only after the round, and `greedy_lost` only before it."""
    greedy_lost: int = 0
    greedy_p: float = 1.0
    """Exact McNemar test of the two, two-sided."""


class Reject(Frozen):
    """Model output that could not be used, and why. Returned by every `parse`; never raised."""

    reason: str
