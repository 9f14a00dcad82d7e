"""6: the Solver's own answers label each question; those near its frontier are kept.

The frozen Solver of the round's start answers m times at temperature 1. The majority answer is the pseudo-label and its
share of m the agreement (replies without an answer count in m). Questions whose agreement lies in the window and that
pass the gates are the round's curriculum. Only parsed, distinct questions are answered; the others stay in 5-synthesize
with their reasons. Gold items are labelled among them.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence, Set
from random import Random

from tasks.benchmarks import BenchmarkConfig, BenchmarkItem, open_benchmark
from tasks.config import FilterConfig, LeakageConfig
from tasks.corpus import CorpusHandle
from tasks.execution.stage import stage
from tasks.grading import vote
from tasks.labelling import gold
from tasks.labelling import leakage as gates
from tasks.labelling.early_stopping import decides_keeping
from tasks.players.sampler import AskedQuestion, Sampler
from tasks.players.team import Team
from tasks.records import Answers, LabelledQuestion, Question
from tasks.records.prompt import Picture
from tasks.settings.fingerprint import digest
from tasks.settings.seeds import seed_of
from tasks.store import Artifact, Output, Place

TOO_HARD, TOO_EASY, NO_MAJORITY, NO_ANSWER, OVER_QUOTA, NOT_TRUSTED = (
    "too hard",
    "too easy",
    "no majority",
    "no answer",
    "over quota",
    "label not trusted",
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


def verdict(posed: AskedQuestion, question: Question, answers: Answers, config: FilterConfig) -> LabelledQuestion:
    """The row of one answered question."""
    label, agreement, reason = judge(answers, config)
    return LabelledQuestion(
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


def gold_row(item: BenchmarkItem, answers: Answers, config: FilterConfig) -> LabelledQuestion:
    """The row of one labelled gold item."""
    label, agreement, _ = judge(answers, config)
    return LabelledQuestion(
        id=f"gold/{item.id}",
        key=item.picture.key,
        domain=item.domain,
        kind=item.kind,
        text=item.question,
        answers=answers,
        label=label,
        agreement=agreement,
        reason=gold.GOLD_ITEM,
        target=item.target,
    )


def dropped(one: LabelledQuestion, reason: str) -> LabelledQuestion:
    """The same row, kept no longer."""
    return one.model_copy(update={"reason": reason})


def within_quota(verdicts: Sequence[LabelledQuestion], max_share: float) -> list[LabelledQuestion]:
    """No domain keeps more than `max_share` of the questions in the window (rounded up).

    Which of a domain's questions go is decided by a digest of their ids: by no property that could bias the choice.
    """
    kept: dict[str, list[LabelledQuestion]] = defaultdict(list)
    for one in verdicts:
        if one.reason is None:
            kept[one.domain].append(one)
    quota = math.ceil(max_share * sum(map(len, kept.values())))
    over = {one.id for group in kept.values() for one in sorted(group, key=lambda row: digest(row.id))[quota:]}
    return [dropped(one, OVER_QUOTA) if one.id in over else one for one in verdicts]


def trusted(one: LabelledQuestion, floor: float) -> LabelledQuestion:
    """A kept question whose agreement the gold items vouch for."""
    return dropped(one, NOT_TRUSTED) if one.reason is None and one.agreement < floor else one


def told_apart(one: LabelledQuestion, known: Set[tuple[str, str]], config: LeakageConfig) -> LabelledQuestion:
    """A kept question through the gates that need no model."""
    if one.reason is not None or one.label is None:
        return one
    if config.asked_before and (one.key, gates.normal(one.text)) in known:
        return dropped(one, gates.ASKED_BEFORE)
    if config.given_away and gates.gives_away(one.text, one.label):
        return dropped(one, gates.GIVEN_AWAY)
    return one


def grounded(
    sampler: Sampler, verdicts: Sequence[LabelledQuestion], put: Sequence[AskedQuestion], config: FilterConfig
) -> list[LabelledQuestion]:
    """Kept questions whose label the Solver gives as well without the picture are dropped."""
    count = config.leakage.blind_answers
    asked = [number for number, one in enumerate(verdicts) if one.reason is None]
    blind = dict(zip(asked, sampler.answer([put[i] for i in asked], count, config.draw, blind=True), strict=True))
    return [
        dropped(one, gates.NOT_GROUNDED)
        if number in blind and gates.blind_share(blind[number], one.label or "") >= config.leakage.blind_share
        else one
        for number, one in enumerate(verdicts)
    ]


def posed(question: Question, picture: Picture) -> AskedQuestion:
    """A kept question, as it is put to the Solver."""
    if question.kind is None:
        raise ValueError(f"question {question.id} was rejected: {question.reason}")
    return AskedQuestion(picture, question.text, question.kind)


def curriculum(verdicts: Sequence[LabelledQuestion]) -> list[LabelledQuestion]:
    """The questions that train."""
    return [one for one in verdicts if one.reason is None]


def label(
    sampler: Sampler, put: Sequence[AskedQuestion], items: Sequence[BenchmarkItem], config: FilterConfig, seed: int
) -> tuple[list[Answers], list[Answers]]:
    """Answers to the questions and to the gold items, from one batch in which nothing tells them apart."""
    batch = [*put, *(AskedQuestion(item.picture, item.question, item.kind) for item in items)]
    order = Random(seed).sample(range(len(batch)), len(batch))
    mixed, enough = (
        [batch[i] for i in order],
        decides_keeping(config, config.early_stopping.tolerance if config.early_stopping else 0.0),
    )
    given = sampler.answer_until(mixed, config.answers, config.draw, config.early_stopping, enough)
    answers = dict(zip(order, given, strict=True))
    found = [answers[i] for i in range(len(batch))]
    return found[: len(put)], found[len(put) :]


def open_gold_items(config: FilterConfig) -> BenchmarkConfig | None:
    """Where gold items come from, if there are any. UserError for a name that is no benchmark."""
    return None if config.gold is None else open_benchmark(config.gold.source)


@stage("filter", LabelledQuestion, version=2, gpu=True)
def filter_questions(
    place: Place,
    config: FilterConfig,
    known_items: BenchmarkConfig | None,
    team: Team,
    questions: Artifact[Question],
    earlier: tuple[Artifact[LabelledQuestion], ...],
    corpus: CorpusHandle,
    seed: int,
) -> Output[LabelledQuestion]:
    """Every parsed question with its label, agreement, and whether it trains; the gold items after them.

    `earlier`: what this team has trained on in rounds before.
    """
    asked = [question for question in questions.read() if question.reason is None]
    pictures = corpus.open().pictures([question.key for question in asked])
    put = [posed(question, picture) for question, picture in zip(asked, pictures, strict=True)]
    seed, known = seed_of(seed, "filter"), frozenset().union(*(gates.asked(one.read()) for one in earlier))
    items = known_items.items() if known_items and config.gold else []
    tested = gold.draw(items, config.gold.share, len(put), seed) if config.gold else []
    with team.open(seed) as sampler:
        answers, of_gold = label(sampler, put, tested, config, seed)
        tests = [gold_row(item, given, config) for item, given in zip(tested, of_gold, strict=True)]
        floor = gold.trusted_from(tests, config)
        judged = [trusted(verdict(*row, config), floor) for row in zip(put, asked, answers, strict=True)]
        judged = [told_apart(one, known, config.leakage) for one in judged]
        judged = grounded(sampler, judged, put, config) if config.leakage.blind_answers else judged
    rows = [*within_quota(judged, config.max_share), *tests]
    return Output(rows, Counter(row.reason or "kept" for row in rows))
