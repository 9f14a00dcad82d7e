"""8: how good is a Solver? Benchmark items answered greedily and by k samples at temperature 1.

Both figures are kept, because self-play on majority labels can raise the one and lower the other. What is measured
depends on the Solver alone, so a Solver that was measured once is not measured again: the score before round 1 is that
of the base (`round-000`), the score before a later round that of the round whose team plays on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from tasks.benchmarks import BenchmarkConfig, Item, open_benchmark
from tasks.config import Draw, EvaluateConfig
from tasks.grading import equal, vote
from tasks.records import Score
from tasks.stage import stage
from tasks.store import Output, Place
from tasks.team import Answers, Cast, Posed, Team, seed_of

GREEDY = Draw(temperature=0)


def score(benchmark: str, item: Item, greedy: str | None, samples: Answers) -> Score:
    """One item's row; a reply without an answer is wrong."""
    majority = vote(samples).label
    return Score(
        benchmark=benchmark,
        id=item.id,
        domain=item.domain,
        target=item.target,
        greedy=greedy,
        greedy_correct=correct(greedy, item.target),
        samples=samples,
        sample_accuracy=float(np.mean([correct(answer, item.target) for answer in samples])),
        majority_correct=correct(majority, item.target),
    )


def correct(answer: str | None, target: str) -> bool:
    """Whether an answer equals the target."""
    return answer is not None and equal(answer, target).equal


def examine(cast: Cast, benchmark: str, items: Sequence[Item], samples: int) -> list[Score]:
    """Rows for all items of one benchmark."""
    posed = [Posed(item.picture, item.question, item.kind) for item in items]
    greedy = cast.answer(posed, 1, GREEDY)
    drawn = cast.answer(posed, samples, Draw())
    return [score(benchmark, item, first, rest) for item, (first,), rest in zip(items, greedy, drawn, strict=True)]


def open_exams(config: EvaluateConfig) -> tuple[BenchmarkConfig, ...]:
    """The benchmarks in the order of `config.benchmarks`. UserError for a name that is none."""
    return tuple(open_benchmark(name) for name in config.benchmarks)


@stage("8-evaluate", Score)
def evaluate_solver(
    place: Place, config: EvaluateConfig, exams: tuple[BenchmarkConfig, ...], team: Team, seed: int
) -> Output[Score]:
    """Scores of a team's Solver on the gate and on what is reported. Hand in `team.solver_alone()`.

    The seed is the run's, not the round's: before and after answer with common random numbers, which narrows the
    paired interval.
    """
    with team.open(seed_of(seed, "evaluate")) as cast:
        rows = [
            row
            for name, exam in zip(config.benchmarks, exams, strict=True)
            for row in examine(cast, name, exam.items()[: config.items], config.samples)
        ]
    return Output(rows, Counter(row.benchmark for row in rows))
