"""8: how good is a Solver? Benchmark items answered greedily and by k samples at temperature 1.

Both figures are kept, because self-play on majority labels can raise the one and lower the other. What is measured
depends on the Solver alone, so a Solver that was measured once is not measured again: the score before round 1 is that
of the base (`round-000`), the score before a later round that of the round whose team plays on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from tasks.benchmarks import BenchmarkConfig, BenchmarkItem, open_benchmark
from tasks.benchmarks.answers import mark, read
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
    """One item's row; a reply without an answer is wrong."""
    answers = tuple(read(item, one.text, one.finished) for one in (greedy, *samples))
    majority = vote(answers[1:]).label
    distinct = {answer: mark(item, answer) for answer in {*answers, majority}}
    marks = [distinct[answer] for answer in answers]
    return Score(
        benchmark=benchmark,
        id=item.id,
        domain=item.domain,
        target=item.target,
        greedy=answers[0],
        greedy_correct=marks[0].right,
        samples=answers[1:],
        sample_accuracy=float(np.mean([one.right for one in marks[1:]])),
        majority_correct=distinct[majority].right,
        correct=tuple(one.right for one in marks[1:]),
        cluster=item.cluster,
        attributes=item.attributes,
        greedy_truncated=not greedy.finished,
        truncated=sum(not one.finished for one in samples),
        timeouts=sum(one.timed_out for one in marks),
    )


def examine(sampler: Sampler, benchmark: str, items: Sequence[BenchmarkItem], samples: int) -> list[Score]:
    """Rows for all items of one benchmark."""
    posed = [AskedQuestion(item.picture, item.question, item.kind) for item in items]
    greedy = sampler.reply(posed, 1, GREEDY)
    drawn = sampler.reply(posed, samples, Draw())
    return [score(benchmark, item, first, rest) for item, (first,), rest in zip(items, greedy, drawn, strict=True)]


def judged(rows: Sequence[Score], items: Sequence[BenchmarkItem], judge: JudgeConfig | None) -> list[Score]:
    """The rows with a judge's opinion of the greedy answers, which changes nothing else; the same rows without one."""
    if judge is None:
        return list(rows)
    answered = [(i, row.greedy) for i, row in enumerate(rows) if row.greedy is not None]
    verdicts = judge.verdicts([Case(items[i].question, answer, items[i].target) for i, answer in answered])
    opinions = dict(zip((i for i, _ in answered), verdicts, strict=True))
    return [row.model_copy(update={"judged": opinions.get(i, False)}) for i, row in enumerate(rows)]


def open_exams(config: EvaluateConfig) -> tuple[BenchmarkConfig, ...]:
    """The benchmarks in the order of `config.benchmarks`. UserError for a name that is none."""
    return tuple(open_benchmark(name) for name in config.benchmarks)


@stage("evaluate", Score, version=2, gpu=True)
def evaluate_solver(
    place: Place, config: EvaluateConfig, exams: tuple[BenchmarkConfig, ...], team: Team, seed: int
) -> Output[Score]:
    """Scores of a team's Solver on the gate and on what is reported. Hand in `team.solver_alone()`.

    The seed is the run's, not the round's: before and after answer with common random numbers, which narrows the
    paired interval.
    """
    rows: list[Score] = []
    with team.open(seed_of(seed, "evaluate")) as sampler:
        for name, exam in zip(config.benchmarks, exams, strict=True):
            items = exam.items()[: config.items]
            rows += judged(examine(sampler, name, items, config.samples), items, config.judge)
    return Output(rows, counts(rows))


def counts(rows: Sequence[Score]) -> dict[str, int]:
    """Items by benchmark, and what became of the replies."""
    told = replies_of(rows)
    return {
        **Counter(row.benchmark for row in rows),
        "unparsed": told.unparsed,
        "truncated": told.truncated,
        "grader time-outs": told.timeouts,
    }
