"""`active-zero corpus audit`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.cli.runtime import working
from flows.round import round_place
from tasks.benchmarks import open_benchmark
from tasks.benchmarks.contamination import AuditConfig, Split, Touch
from tasks.settings.base import Frozen
from tasks.settings.errors import UserError

if TYPE_CHECKING:
    from tasks.records import Score

COLUMNS = ("key", "picture", "bits", "residual", "cosine")


class Found(Frozen):
    """What an audit found."""

    corpus: str
    benchmark: str
    pictures: int
    """Of the corpus, that were looked at."""
    items: int
    """Of the benchmark."""
    touched_items: int
    touches: list[Touch]
    scores: Split | None
    """Of the run that was named."""


def audit(uri: str, benchmark: str, clip: float | None, run: str | None, number: int | None) -> Found:
    """Copies of the benchmark's pictures in the corpus. What can be wrong with the names is found first."""
    from tasks.benchmarks import contamination as auditing
    from tasks.corpus import corpus_place, open_corpus

    items = open_benchmark(benchmark).items()
    scores = None if run is None else _scores(run, number, benchmark)
    library = open_corpus(corpus_place(uri))
    with working("corpus-audit"):
        touches = auditing.audit(library, items, AuditConfig(clip=clip))
    touched = auditing.touched_items(items, touches)
    return Found(
        corpus=uri,
        benchmark=benchmark,
        pictures=len(library),
        items=len(items),
        touched_items=len(touched),
        touches=touches,
        scores=None if scores is None else auditing.split_scores(scores, touched),
    )


def summary(found: Found) -> list[str]:
    """What stands below the table."""
    lines = [
        f"{len({touch.key for touch in found.touches})} of {found.pictures} pictures are copies; they touch "
        f"{found.touched_items} of {found.items} items of {found.benchmark}"
    ]
    for name, part in () if found.scores is None else found.scores:
        low, high = part.interval
        lines.append(
            f"{name}: {part.items} items, greedy {100 * part.greedy:.1f} ({100 * low:.1f} to {100 * high:.1f}), "
            f"mean {100 * part.mean:.1f}"
        )
    return lines


def _scores(run: str, number: int | None, benchmark: str) -> list[Score]:
    """The run's scores on the benchmark. UserError where it has none."""
    from flows.cli.runs import existing_store
    from tasks.evaluate import evaluate_solver
    from tasks.records import Score

    store = existing_store()
    for one in reversed(store.rounds(run)) if number is None else (number,):
        artifact = round_place(store, run, one).find(evaluate_solver.name, Score)
        rows = [] if artifact is None else [row for row in artifact.read() if row.benchmark == benchmark]
        if rows:
            return rows
    raise UserError(f"run {run} has no scores on {benchmark}: `active-zero show {run}` says what it has.")
