"""`active-zero corpus audit`: contamination of a benchmark by a corpus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.console import print_json, print_line, print_table
from flows.cli.options import BenchmarkName, CorpusUri, Json, Verbose, examples
from flows.cli.session import session_of
from tasks.settings.errors import UserError

if TYPE_CHECKING:
    from tasks.benchmarks.contamination import ContaminationScores
    from tasks.records import Score

COLUMNS = ("key", "picture", "bits", "residual", "cosine")

app = typer.Typer()


@app.command(
    epilog=examples(
        "active-zero corpus audit --corpus artifacts/corpora/micro-world --benchmark world:heldout",
        "active-zero corpus audit --corpus s3://bucket/corpora/web --benchmark MathVista_MINI.tsv --run mine --json",
    ),
)
def audit(
    context: typer.Context,
    uri: CorpusUri,
    benchmark: BenchmarkName,
    clip: Annotated[
        float | None, typer.Option(min=0, max=1, help="Also pictures whose CLIP vectors have at least this cosine.")
    ] = None,
    run: Annotated[
        str | None, typer.Option(metavar="NAME", help="Split this run's scores by contaminated items.")
    ] = None,
    number: Annotated[
        int | None, typer.Option("--round", metavar="N", help="Round of the run; by default the last one with scores.")
    ] = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Find copies of a benchmark's pictures in the corpus; compare scores with and without the contaminated items."""
    from flows.cli.runtime import working
    from tasks.benchmarks import contamination, open_benchmark
    from tasks.corpus import corpus_place, open_corpus

    items = open_benchmark(benchmark).read().items
    scores = None if run is None else _scores(run, number, benchmark)
    corpus = open_corpus(corpus_place(uri))
    with working(session_of(context), "corpus-audit"):
        copies = contamination.find_contamination(corpus, items, contamination.ContaminationConfig(clip=clip))
    contaminated = contamination.contaminated_items(items, copies)
    split = None if scores is None else contamination.split_scores(scores, contaminated)
    if json:
        print_json({
            "corpus": uri, "benchmark": benchmark, "pictures": len(corpus), "items": len(items),
            "contaminated_items": len(contaminated), "copies": [copy.model_dump() for copy in copies],
            "scores": None if split is None else split.model_dump(),
        })  # fmt: skip
        return
    print_table([copy.model_dump() for copy in copies], COLUMNS, "No copies.")
    print_line(
        f"{len({copy.key for copy in copies})} of {len(corpus)} pictures are copies; they contaminate "
        f"{len(contaminated)} of {len(items)} items of {benchmark}"
    )
    for line in [] if split is None else _score_lines(split):
        print_line(line)


def _score_lines(split: ContaminationScores) -> list[str]:
    """One line for all items, the clean ones, and the contaminated ones."""
    return [
        f"{name}: {part.items} items, greedy {100 * part.greedy:.1f} "
        f"({100 * part.interval[0]:.1f} to {100 * part.interval[1]:.1f}), mean {100 * part.mean:.1f}"
        for name, part in split
    ]


def _scores(run: str, number: int | None, benchmark: str) -> list[Score]:
    """The run's scores on the benchmark, of one round or of the last that has any. UserError where there are none."""
    from flows.cli.stores import existing_store
    from flows.round import round_place
    from tasks.evaluate import evaluate_solver
    from tasks.records import Score

    store = existing_store()
    for candidate in reversed(store.rounds(run)) if number is None else (number,):
        artifact = round_place(store, run, candidate).find(evaluate_solver.name, Score)
        rows = [] if artifact is None else [row for row in artifact.read() if row.benchmark == benchmark]
        if rows:
            return rows
    raise UserError(f"run {run} has no scores on {benchmark}: `active-zero show {run}` lists its stages.")
