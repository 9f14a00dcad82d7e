"""The cards of a round's page: one for every query result, question and gold item, kept or not, with its reason.

A card joins what three stages recorded: the search result that brought the picture into the pool, the Questioner's
text, and the Solver's answers. No row is left out: the number of cards of each outcome is that of the stage's rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.grading import vote
from tasks.records import LabelledQuestion, Question, SearchResult
from tasks.reporting.facts import Verdict

Show = Literal["questions", "gold items", "search losses"]
"""The three kinds of cards: texts of the Questioner, gold items, and search results that are not in the pool."""
TRAINED = "trained on"
"""The outcome of a question that was kept."""
UNANSWERED = "not answered yet"
"""The outcome of a question whose filter is not complete."""


@dataclass(frozen=True)
class RoundCard:
    """One row of the round as a person reads it."""

    id: str
    show: Show
    outcome: str
    """`trained on`, or the reason that a stage recorded: `too hard`, `synthesize: no question`, `search: duplicate`."""
    domain: str
    key: str | None
    """The picture's key; None for a rejected query."""
    text: str
    """The question; of a rejected text the model's whole text, of a search result its query."""
    query: str | None
    """The query that found the picture; None where none did: gold items."""
    rank: int | None
    score: float | None
    """Rank and cosine of the picture among the query's results."""
    kind: str | None = None
    votes: tuple[tuple[str | None, int], ...] = ()
    """Answers that count as equal, in their most frequent wording, with their number; None: no answer was parsed."""
    label: str | None = None
    agreement: float | None = None
    verdict: Verdict | None = None
    own_answer: str = ""
    """The Questioner's own answer, which is never a label."""
    thought: str = ""
    unknown: int = 0
    """Pairs of answers that the grader could not compare."""


def cards_of(
    results: Sequence[SearchResult],
    questions: Sequence[Question],
    labelled: Sequence[LabelledQuestion],
    verdicts: Mapping[str, Verdict],
) -> list[RoundCard]:
    """All cards: questions in the order of the pool, then gold items, then search results that are not in the pool.

    Where synthesize's rows are missing, the labelled questions alone are shown. `verdicts` are by question id.
    """
    found = {row.key: row for row in results if row.reason is None}
    by_id = {row.id: row for row in labelled}
    asked = [_question_card(row, by_id.get(row.id), found, verdicts) for row in questions]
    known = {row.id for row in questions}
    others = [row for row in labelled if row.id not in known]
    return [
        *asked,
        *(_labelled_card(row, found.get(row.key), verdicts) for row in others if row.target is None),
        *(_labelled_card(row, None, verdicts) for row in others if row.target is not None),
        *_search_losses(results),
    ]


def _question_card(
    row: Question,
    labelled: LabelledQuestion | None,
    found: Mapping[str | None, SearchResult],
    verdicts: Mapping[str, Verdict],
) -> RoundCard:
    """The card of one of the Questioner's texts."""
    result = found.get(row.key)
    if labelled is not None:
        return _labelled_card(labelled, result, verdicts, row)
    outcome = f"synthesize: {row.reason}" if row.reason else UNANSWERED
    return RoundCard(
        id=row.id,
        show="questions",
        outcome=outcome,
        domain=row.domain,
        key=row.key,
        text=row.text or row.raw,
        query=result.query if result else None,
        rank=result.rank if result else None,
        score=result.score if result else None,
        kind=row.kind,
        own_answer=row.answer,
        thought=row.thought,
    )


def _labelled_card(
    row: LabelledQuestion,
    result: SearchResult | None,
    verdicts: Mapping[str, Verdict],
    question: Question | None = None,
) -> RoundCard:
    """The card of an answered question, or of a gold item."""
    is_gold = row.target is not None
    return RoundCard(
        id=row.id,
        show="gold items" if is_gold else "questions",
        outcome=row.reason or TRAINED,
        domain=row.domain,
        key=row.key,
        text=row.text,
        query=result.query if result else None,
        rank=result.rank if result else None,
        score=result.score if result else None,
        kind=row.kind,
        votes=votes_of(row.answers),
        label=row.label,
        agreement=row.agreement,
        verdict=verdicts.get(row.id),
        own_answer=question.answer if question else "",
        thought=question.thought if question else "",
        unknown=row.unknown,
    )


def votes_of(answers: Sequence[str | None]) -> tuple[tuple[str | None, int], ...]:
    """The groups of equal answers, the largest first, then the replies without an answer."""
    groups = vote(answers).groups
    counted: list[tuple[str | None, int]] = []
    for group in groups:
        wordings = [(answers[position] or "").strip() for position in group]
        counted.append((max(sorted(set(wordings)), key=wordings.count), len(group)))
    if missing := len(answers) - sum(map(len, groups)):
        counted.append((None, missing))
    return tuple(counted)


def _search_losses(results: Sequence[SearchResult]) -> Iterator[RoundCard]:
    for number, row in enumerate(results):
        if row.reason is not None:
            yield RoundCard(
                id=f"search/{number}",
                show="search losses",
                outcome=f"search: {row.reason}",
                domain=row.domain,
                key=row.key,
                text=row.query,
                query=row.query if row.key else None,
                rank=row.rank or None,
                score=row.score if row.key else None,
            )
