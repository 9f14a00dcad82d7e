"""Evaluate a Solver on benchmark items, greedily and by k samples at temperature 1.

Both figures are kept, because self-play on majority labels can raise one and lower the other. Scores depend on the
Solver alone, so each Solver is evaluated once: the score before round 1 is that of the base model (`round-000`), and
the score before a later round is that of the round that made the current team.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from tasks.benchmarks import BenchmarkConfig, BenchmarkItem, open_benchmark
from tasks.benchmarks.answers import grade, read_answer
from tasks.benchmarks.judge import Case, JudgeConfig
from tasks.config import Draw, EvaluateConfig
from tasks.engines.request import Completion
from tasks.execution.stage import stage
from tasks.grading import vote
from tasks.players.sampler import AskedQuestion, Sampler
from tasks.players.team import Team
from tasks.records import Score
from tasks.reporting.facts import replies_of
from tasks.settings.seeds import seed_of
from tasks.store import Output, Place

GREEDY = Draw(temperature=0)


def score(benchmark: str, item: BenchmarkItem, greedy: Completion, samples: Sequence[Completion]) -> Score:
    """The row of one item; a reply without an answer is wrong."""
    answers = tuple(read_answer(item, reply.text, reply.finished) for reply in (greedy, *samples))
    majority = vote(answers[1:]).label
    by_answer = {answer: grade(item, answer) for answer in {*answers, majority}}
    grades = [by_answer[answer] for answer in answers]
    return Score(
        benchmark=benchmark,
        id=item.id,
        domain=item.domain,
        target=item.target,
        greedy=answers[0],
        greedy_correct=grades[0].right,
        samples=answers[1:],
        sample_accuracy=float(np.mean([given.right for given in grades[1:]])),
        majority_correct=by_answer[majority].right,
        correct=tuple(given.right for given in grades[1:]),
        cluster=item.cluster,
        attributes=item.attributes,
        greedy_truncated=not greedy.finished,
        truncated=sum(not sample.finished for sample in samples),
        timeouts=sum(given.timed_out for given in grades),
    )


def score_items(sampler: Sampler, benchmark: str, items: Sequence[BenchmarkItem], samples: int) -> list[Score]:
    """The rows of items of one benchmark."""
    questions = [AskedQuestion(item.picture, item.question, item.kind) for item in items]
    greedy = sampler.reply(questions, 1, GREEDY)
    drawn = sampler.reply(questions, samples, Draw())
    return [score(benchmark, item, first, rest) for item, (first,), rest in zip(items, greedy, drawn, strict=True)]


def add_judgements(rows: Sequence[Score], items: Sequence[BenchmarkItem], judge: JudgeConfig | None) -> list[Score]:
    """The rows with the LLM judge's verdict on each greedy answer, which changes no other figure; without a judge, the
    rows as they are."""
    if judge is None:
        return list(rows)
    answered = [(i, row.greedy) for i, row in enumerate(rows) if row.greedy is not None]
    verdicts = judge.verdicts([Case(items[i].question, answer, items[i].target) for i, answer in answered])
    by_row = dict(zip((i for i, _ in answered), verdicts, strict=True))
    return [row.model_copy(update={"judged": by_row.get(i, False)}) for i, row in enumerate(rows)]


def open_benchmarks(config: EvaluateConfig) -> tuple[BenchmarkConfig, ...]:
    """The benchmarks in the order of `config.benchmarks`. UserError for a name that is no benchmark."""
    return tuple(open_benchmark(name) for name in config.benchmarks)


@stage("evaluate", Score, version=2, gpu=True)
def evaluate_solver(
    place: Place, config: EvaluateConfig, benchmarks: tuple[BenchmarkConfig, ...], team: Team, seed: int
) -> Output[Score]:
    """Scores of a team's Solver on the gate and on the reported benchmarks. Pass `team.solver_alone()`.

    The seed is the run's, not the round's: Solvers before and after a round are sampled with common random numbers,
    which narrows the paired interval.
    """
    rows: list[Score] = []
    left_out: dict[str, int] = {}
    with team.open(seed_of(seed, "evaluate")) as sampler:
        for name, benchmark in zip(config.benchmarks, benchmarks, strict=True):
            read = benchmark.read()
            items = read.items[: config.items]
            left_out |= Counter(f"{name}: {row.kind}" for row in read.rejected)
            rows += add_judgements(score_items(sampler, name, items, config.samples), items, config.judge)
    return Output(rows, counts(rows) | left_out)


def counts(rows: Sequence[Score]) -> dict[str, int]:
    """Number of items by benchmark, and of replies that are unparsed, truncated or timed out in grading."""
    replies = replies_of(rows)
    return {
        **Counter(row.benchmark for row in rows),
        "unparsed": replies.unparsed,
        "truncated": replies.truncated,
        "grader time-outs": replies.timeouts,
    }
