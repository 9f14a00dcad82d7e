"""6: the Solver's own answers label each question; those near its frontier are kept.

The frozen Solver of the round's start answers m times at temperature 1. The majority answer is the pseudo-label and its
share of m the agreement (replies without an answer count in m). Questions whose agreement lies in the window and that
pass the gates are the round's curriculum. Only parsed, distinct questions are answered; the others stay in 5-synthesize
with their reasons. Canaries are labelled among them.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence, Set
from random import Random

from tasks.benchmarks import BenchmarkConfig, Item, open_benchmark
from tasks.config import FilterConfig, GateConfig
from tasks.corpus import Shelf
from tasks.execution.stage import stage
from tasks.grading import vote
from tasks.labelling import gold as canaries
from tasks.labelling import leakage as gates
from tasks.labelling.early_stopping import decides_keeping
from tasks.players.sampler import Cast, Posed
from tasks.players.team import Team
from tasks.records import Answers, Question, Verdict
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


def canary(item: Item, answers: Answers, config: FilterConfig) -> Verdict:
    """The row of one labelled canary."""
    label, agreement, _ = judge(answers, config)
    return Verdict(
        id=f"canary/{item.id}",
        key=item.picture.key,
        domain=item.domain,
        kind=item.kind,
        text=item.question,
        answers=answers,
        label=label,
        agreement=agreement,
        reason=canaries.CANARY,
        target=item.target,
    )


def dropped(one: Verdict, reason: str) -> Verdict:
    """The same row, kept no longer."""
    return one.model_copy(update={"reason": reason})


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
    return [dropped(one, OVER_QUOTA) if one.id in over else one for one in verdicts]


def trusted(one: Verdict, floor: float) -> Verdict:
    """A kept question whose agreement the canaries vouch for."""
    return dropped(one, NOT_TRUSTED) if one.reason is None and one.agreement < floor else one


def told_apart(one: Verdict, known: Set[tuple[str, str]], config: GateConfig) -> Verdict:
    """A kept question through the gates that need no model."""
    if one.reason is not None or one.label is None:
        return one
    if config.asked_before and (one.key, gates.normal(one.text)) in known:
        return dropped(one, gates.ASKED_BEFORE)
    if config.given_away and gates.gives_away(one.text, one.label):
        return dropped(one, gates.GIVEN_AWAY)
    return one


def grounded(cast: Cast, verdicts: Sequence[Verdict], put: Sequence[Posed], config: FilterConfig) -> list[Verdict]:
    """Kept questions whose label the Solver gives as well without the picture are dropped."""
    count = config.gates.blind_answers
    asked = [number for number, one in enumerate(verdicts) if one.reason is None]
    blind = dict(zip(asked, cast.answer([put[i] for i in asked], count, config.draw, blind=True), strict=True))
    return [
        dropped(one, gates.NOT_GROUNDED)
        if number in blind and gates.blind_share(blind[number], one.label or "") >= config.gates.blind_share
        else one
        for number, one in enumerate(verdicts)
    ]


def posed(question: Question, picture: Picture) -> Posed:
    """A kept question, as it is put to the Solver."""
    if question.kind is None:
        raise ValueError(f"question {question.id} was rejected: {question.reason}")
    return Posed(picture, question.text, question.kind)


def curriculum(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The questions that train."""
    return [one for one in verdicts if one.reason is None]


def label(
    cast: Cast, put: Sequence[Posed], items: Sequence[Item], config: FilterConfig, seed: int
) -> tuple[list[Answers], list[Answers]]:
    """Answers to the questions and to the canaries, from one batch in which nothing tells them apart."""
    batch = [*put, *(Posed(item.picture, item.question, item.kind) for item in items)]
    order = Random(seed).sample(range(len(batch)), len(batch))
    mixed, enough = [batch[i] for i in order], decides_keeping(config, config.looks.tolerance if config.looks else 0.0)
    given = cast.answer_until(mixed, config.answers, config.draw, config.looks, enough)
    answers = dict(zip(order, given, strict=True))
    found = [answers[i] for i in range(len(batch))]
    return found[: len(put)], found[len(put) :]


def open_canaries(config: FilterConfig) -> BenchmarkConfig | None:
    """Where canaries come from, if there are any. UserError for a name that is no benchmark."""
    return None if config.canaries is None else open_benchmark(config.canaries.source)


@stage("6-filter", Verdict, gpu=True)
def filter_questions(
    place: Place,
    config: FilterConfig,
    known_items: BenchmarkConfig | None,
    team: Team,
    questions: Artifact[Question],
    earlier: tuple[Artifact[Verdict], ...],
    shelf: Shelf,
    seed: int,
) -> Output[Verdict]:
    """Every parsed question with its label, agreement, and whether it trains; the canaries after them.

    `earlier`: what this team has trained on in rounds before.
    """
    asked = [question for question in questions.read() if question.reason is None]
    pictures = shelf.open().pictures([question.key for question in asked])
    put = [posed(question, picture) for question, picture in zip(asked, pictures, strict=True)]
    seed, known = seed_of(seed, "filter"), frozenset().union(*(gates.asked(one.read()) for one in earlier))
    items = known_items.items() if known_items and config.canaries else []
    tested = canaries.draw(items, config.canaries.share, len(put), seed) if config.canaries else []
    with team.open(seed) as cast:
        answers, of_canaries = label(cast, put, tested, config, seed)
        tests = [canary(item, given, config) for item, given in zip(tested, of_canaries, strict=True)]
        floor = canaries.trusted_from(tests, config)
        judged = [trusted(verdict(*row, config), floor) for row in zip(put, asked, answers, strict=True)]
        judged = [told_apart(one, known, config.gates) for one in judged]
        judged = grounded(cast, judged, put, config) if config.gates.blind_answers else judged
    rows = [*within_quota(judged, config.max_share), *tests]
    return Output(rows, Counter(row.reason or "kept" for row in rows))
