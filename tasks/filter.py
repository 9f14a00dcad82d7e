"""The Solver's answers label each question, and questions near its frontier are kept.

The frozen Solver of the round's start answers each question m times at temperature 1. The majority answer is the
pseudo-label; its share of the m answers is the agreement (replies without an answer count in m). Questions with an
agreement in the window that pass the leakage checks are the round's curriculum. Gold items are answered in the same
batch. Questions that synthesize rejected are not answered; they stay in its rows with their reasons.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from random import Random

from tasks.benchmarks import BenchmarkConfig, BenchmarkItem, open_benchmark
from tasks.config import FilterConfig, LeakageConfig
from tasks.corpus import CorpusHandle
from tasks.execution.stage import stage, workspace
from tasks.grading import vote
from tasks.labelling import gold, leakage
from tasks.labelling.early_stopping import filter_stop_rule
from tasks.players.sampler import AskedQuestion, Sampler
from tasks.players.team import Team
from tasks.records import Answers, BlindAnswers, LabelledQuestion, Question, read_rows, write_rows
from tasks.records.picture import Picture
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


UNKNOWN = "pairs of answers not compared"
BLIND = "blind.parquet"
"""File of the filter: `BlindAnswers` rows, for the round's page."""


@dataclass(frozen=True)
class PseudoLabel:
    """The label of a question by majority vote."""

    label: str | None
    agreement: float
    reason: str | None
    """Why the question is rejected; None if its agreement lies in the window."""
    unknown: int = 0
    """Pairs of answers that could not be compared."""


def label_of(answers: Answers, config: FilterConfig) -> PseudoLabel:
    """The pseudo-label of a question with these answers."""
    voted = vote(answers)
    if not any(answer is not None for answer in answers):
        return PseudoLabel(None, 0.0, NO_ANSWER)
    if voted.label is None:
        return PseudoLabel(None, voted.agreement, NO_MAJORITY, voted.unknown)
    return PseudoLabel(voted.label, voted.agreement, outside_window(voted.agreement, config), voted.unknown)


def outside_window(agreement: float, config: FilterConfig) -> str | None:
    """`too hard` below the window, `too easy` above it, and None inside (both ends included)."""
    if agreement < config.low:
        return TOO_HARD
    return TOO_EASY if agreement > config.high else None


def labelled_question(
    question: Question, asked: AskedQuestion, answers: Answers, config: FilterConfig
) -> LabelledQuestion:
    """The row of an answered question."""
    voted = label_of(answers, config)
    return LabelledQuestion(
        id=question.id,
        key=question.key,
        domain=question.domain,
        kind=asked.kind,
        text=asked.text,
        answers=answers,
        label=voted.label,
        agreement=voted.agreement,
        reason=voted.reason,
        unknown=voted.unknown,
    )


def labelled_gold_item(item: BenchmarkItem, answers: Answers, config: FilterConfig) -> LabelledQuestion:
    """The row of an answered gold item: it has a target, and it never trains."""
    voted = label_of(answers, config)
    return LabelledQuestion(
        id=f"gold/{item.id}",
        key=item.picture.key,
        domain=item.domain,
        kind=item.kind,
        text=item.question,
        answers=answers,
        label=voted.label,
        agreement=voted.agreement,
        reason=gold.GOLD_ITEM,
        unknown=voted.unknown,
        target=item.target,
    )


def rejected(question: LabelledQuestion, reason: str) -> LabelledQuestion:
    """The same row with the reason why it is rejected."""
    return question.model_copy(update={"reason": reason})


def check_trust(question: LabelledQuestion, floor: float) -> LabelledQuestion:
    """The row, rejected if it was kept with an agreement below `floor`, where the gold items' labels are too bad."""
    return rejected(question, NOT_TRUSTED) if question.reason is None and question.agreement < floor else question


def check_leakage(
    question: LabelledQuestion, trained_on: Set[tuple[str, str]], config: LeakageConfig
) -> LabelledQuestion:
    """The row, rejected if it was kept but fails a leakage check that needs no model.

    `trained_on`: (picture key, normalized text) of the questions that the current team has trained on.
    """
    if question.reason is not None or question.label is None:
        return question
    if config.asked_before and (question.key, leakage.normalized(question.text)) in trained_on:
        return rejected(question, leakage.ASKED_BEFORE)
    if config.given_away and leakage.gives_away(question.text, question.label):
        return rejected(question, leakage.GIVEN_AWAY)
    return question


def blind_answers(
    sampler: Sampler, labelled: Sequence[LabelledQuestion], asked: Sequence[AskedQuestion], config: FilterConfig
) -> dict[int, Answers]:
    """The Solver's answers without the picture to each kept question, by its number. `asked[i]` is row i."""
    kept = [number for number, question in enumerate(labelled) if question.reason is None]
    count = config.leakage.blind_answers
    given = sampler.answer([asked[i] for i in kept], count, config.draw, blind=True) if count else []
    return dict(zip(kept, given, strict=True)) if count else {}


def check_grounding(
    labelled: Sequence[LabelledQuestion], blind: Mapping[int, Answers], config: LeakageConfig
) -> list[LabelledQuestion]:
    """The rows, rejected if the Solver also gives their label without the picture. `blind`: answers by number."""
    return [
        rejected(question, leakage.NOT_GROUNDED)
        if number in blind and leakage.blind_share(blind[number], question.label or "") >= config.blind_share
        else question
        for number, question in enumerate(labelled)
    ]


def within_quota(labelled: Sequence[LabelledQuestion], max_share: float) -> list[LabelledQuestion]:
    """The rows, kept ones rejected where a domain has more than `max_share` of the curriculum (rounded up).

    A digest of the ids decides which of a domain's questions are rejected, so that no property biases the choice.
    """
    kept: dict[str, list[LabelledQuestion]] = defaultdict(list)
    for question in curriculum(labelled):
        kept[question.domain].append(question)
    quota = math.ceil(max_share * sum(map(len, kept.values())))
    over = {row.id for group in kept.values() for row in sorted(group, key=lambda row: digest(row.id))[quota:]}
    return [rejected(question, OVER_QUOTA) if question.id in over else question for question in labelled]


def curriculum(labelled: Sequence[LabelledQuestion]) -> list[LabelledQuestion]:
    """The questions that train."""
    return [question for question in labelled if question.reason is None]


def asked_question(question: Question, picture: Picture) -> AskedQuestion:
    """A parsed question, as the Solver is asked it. ValueError for a rejected one."""
    if question.kind is None:
        raise ValueError(f"question {question.id} was rejected: {question.reason}")
    return AskedQuestion(picture, question.text, question.kind)


def answer_with_gold_items(
    sampler: Sampler,
    questions: Sequence[AskedQuestion],
    gold_items: Sequence[BenchmarkItem],
    config: FilterConfig,
    seed: int,
) -> tuple[list[Answers], list[Answers]]:
    """The answers to the questions and to the gold items, sampled as one batch in random order."""
    batch = [*questions, *(AskedQuestion(item.picture, item.question, item.kind) for item in gold_items)]
    order = Random(seed).sample(range(len(batch)), len(batch))
    enough = filter_stop_rule(config, config.early_stopping.tolerance if config.early_stopping else 0.0)
    shuffled = [batch[i] for i in order]
    given = sampler.answer_until(shuffled, config.answers, config.draw, config.early_stopping, enough)
    by_position = dict(zip(order, given, strict=True))
    answers = [by_position[i] for i in range(len(batch))]
    return answers[: len(questions)], answers[len(questions) :]


def open_gold_items(config: FilterConfig) -> BenchmarkConfig | None:
    """The benchmark of the gold items; None without gold items. UserError for a name that is no benchmark."""
    return None if config.gold is None else open_benchmark(config.gold.source)


@stage("filter", LabelledQuestion, version=3, gpu=True)
def filter_questions(
    place: Place,
    config: FilterConfig,
    gold_items: BenchmarkConfig | None,
    team: Team,
    questions: Artifact[Question],
    trained_on: tuple[Artifact[LabelledQuestion], ...],
    corpus: CorpusHandle,
    seed: int,
) -> Output[LabelledQuestion]:
    """Every parsed question with its label, agreement and reject reason, followed by the gold items.

    `trained_on`: the curricula that the current team has trained on in earlier rounds.
    """
    parsed = [question for question in questions.read() if question.reason is None]
    pictures = corpus.open().pictures([question.key for question in parsed])
    asked = [asked_question(question, picture) for question, picture in zip(parsed, pictures, strict=True)]
    before = frozenset().union(*(leakage.trained_questions(past.read()) for past in trained_on))
    seed = seed_of(seed, "filter")
    items = gold_items.read().items if gold_items and config.gold else []
    drawn = gold.draw(items, config.gold.share, len(asked), seed) if config.gold else []
    with team.open(seed) as sampler:
        answers, gold_answers = answer_with_gold_items(sampler, asked, drawn, config, seed)
        gold_rows = [labelled_gold_item(item, given, config) for item, given in zip(drawn, gold_answers, strict=True)]
        floor = gold.agreement_floor(gold_rows, config)
        labelled = [labelled_question(*row, config) for row in zip(parsed, asked, answers, strict=True)]
        labelled = [check_leakage(check_trust(row, floor), before, config.leakage) for row in labelled]
        blind = blind_answers(sampler, labelled, asked, config)
    told = [BlindAnswers(id=labelled[number].id, answers=given) for number, given in blind.items()]
    labelled = check_grounding(labelled, blind, config.leakage)
    rows = [*within_quota(labelled, config.max_share), *gold_rows]
    unknown = sum(row.unknown for row in rows)
    counters = Counter(row.reason or "kept" for row in rows) | ({UNKNOWN: unknown} if unknown else {})
    return Output(rows, counters, {BLIND: write_rows(BlindAnswers, told, workspace() / BLIND)} if told else {})


def blind_answers_of(filtered: Artifact[LabelledQuestion]) -> dict[str, Answers]:
    """The answers without the picture by question id; empty where the filter asked for none, or did not keep them."""
    if all(file.name != BLIND for file in filtered.manifest.files):
        return {}
    return {row.id: row.answers for row in read_rows(BlindAnswers, filtered.file(BLIND))}
