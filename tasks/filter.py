"""6: the Solver's own answers label each question; those near its frontier are kept.

The frozen Solver of the round's start answers m times at temperature 1. The majority answer is the pseudo-label and its
share of m the agreement (replies without an answer count in m). Questions whose agreement lies in the window are the
round's curriculum. Only parsed, distinct questions are answered; the others stay in 5-synthesize with their reasons.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from tasks.config import FilterConfig
from tasks.grading import vote
from tasks.identity import digest
from tasks.prompt import Picture
from tasks.records import Question, Verdict
from tasks.shelf import Shelf
from tasks.stage import stage
from tasks.store import Artifact, Output, Place
from tasks.team import Answers, Posed, Team, seed_of

TOO_HARD, TOO_EASY, NO_MAJORITY, NO_ANSWER, OVER_QUOTA = (
    "too hard",
    "too easy",
    "no majority",
    "no answer",
    "over quota",
)


def judge(answers: Answers, config: FilterConfig) -> tuple[str | None, float, str | None]:
    """Label, agreement, and why the question does not train (None if it does)."""
    found = vote(answers)
    if not any(answer is not None for answer in answers):
        return None, 0.0, NO_ANSWER
    if found.label is None:
        return None, found.agreement, NO_MAJORITY
    return found.label, found.agreement, outside(found.agreement, config)


def outside(agreement: float, config: FilterConfig) -> str | None:
    """On which side of the window the agreement lies; None within (both ends included)."""
    if agreement < config.low:
        return TOO_HARD
    return TOO_EASY if agreement > config.high else None


def verdict(posed: Posed, question: Question, answers: Answers, config: FilterConfig) -> Verdict:
    """The row of one answered question."""
    label, agreement, reason = judge(answers, config)
    return Verdict(
        id=question.id,
        key=question.key,
        domain=question.domain,
        kind=posed.kind,
        text=posed.text,
        answers=answers,
        label=label,
        agreement=agreement,
        reason=reason,
    )


def within_quota(verdicts: Sequence[Verdict], max_share: float) -> list[Verdict]:
    """No domain keeps more than `max_share` of the questions in the window (rounded up).

    Which of a domain's questions go is decided by a digest of their ids: by no property that could bias the choice.
    """
    kept: dict[str, list[Verdict]] = defaultdict(list)
    for one in verdicts:
        if one.reason is None:
            kept[one.domain].append(one)
    quota = math.ceil(max_share * sum(map(len, kept.values())))
    over = {one.id for group in kept.values() for one in sorted(group, key=lambda row: digest(row.id))[quota:]}
    return [one.model_copy(update={"reason": OVER_QUOTA}) if one.id in over else one for one in verdicts]


def posed(question: Question, picture: Picture) -> Posed:
    """A kept question, as it is put to the Solver."""
    if question.kind is None:
        raise ValueError(f"question {question.id} was rejected: {question.reason}")
    return Posed(picture, question.text, question.kind)


def curriculum(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The questions that train."""
    return [one for one in verdicts if one.reason is None]


@stage("6-filter", Verdict)
def filter_questions(
    place: Place, config: FilterConfig, team: Team, questions: Artifact[Question], shelf: Shelf, seed: int
) -> Output[Verdict]:
    """Every parsed question with its label, agreement, and whether it trains."""
    asked = [question for question in questions.read() if question.reason is None]
    pictures = shelf.open().pictures([question.key for question in asked])
    put = [posed(question, picture) for question, picture in zip(asked, pictures, strict=True)]
    with team.open(seed_of(seed, "filter")) as cast:
        answers = cast.answer(put, config.answers, config.draw)
    verdicts = [verdict(*row, config) for row in zip(put, asked, answers, strict=True)]
    rows = within_quota(verdicts, config.max_share)
    return Output(rows, Counter(row.reason or "kept" for row in rows))
