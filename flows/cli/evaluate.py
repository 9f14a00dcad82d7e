"""`active-zero evaluate`: a model's scores on a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.console import print_json, print_line, print_note, print_table
from flows.cli.options import DEFAULT_CONFIG, BenchmarkName, Config, Json, Overrides, Verbose, examples
from flows.cli.session import Session, session_of

if TYPE_CHECKING:
    from flows.benchmark import BenchmarkFigures, BenchmarkResult

COLUMNS = ("category", "items", "greedy", "mean", "majority", "unparsed", "truncated")

app = typer.Typer()


@app.command(
    epilog=examples(
        "active-zero evaluate infra/models/vlm --benchmark world:heldout",
        "active-zero evaluate run:default@2 --benchmark MathVista_MINI.tsv --json",
        "active-zero evaluate infra/models/vlm --benchmark mathvista --show 3",
    )
)
def evaluate(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder, hub name, run:NAME or run:NAME@ROUND.")],
    benchmark: BenchmarkName,
    config: Config = DEFAULT_CONFIG,
    overrides: Overrides = None,
    show: Annotated[int, typer.Option(metavar="N", help="First print N questions as the model is asked them.")] = 0,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Score a model: greedy, the mean of k samples at temperature 1, and their majority, with 95 % intervals."""
    if show:
        _print_questions(config, overrides or [], benchmark, show)
    result = _score(session_of(context), model, benchmark, config, overrides or [])
    if json:
        print_json(result.model_dump())
        return
    print_table(result_records(result), COLUMNS, "No items.")
    for line in notes(result):
        print_line(line)


def _print_questions(config: str, overrides: Sequence[str], benchmark: str, count: int) -> None:
    """On standard error, so that standard output stays the result."""
    from flows.benchmark import as_asked
    from tasks.config import load_config

    for text in as_asked(load_config(config, overrides), benchmark, count):
        print_note(text)


def _score(session: Session, model: str, benchmark: str, config: str, overrides: Sequence[str]) -> BenchmarkResult:
    """Score the model. UserError for a wrong name before any item is answered."""
    from flows.cli.runtime import working
    from tasks.benchmarks import open_benchmark
    from tasks.config import load_config
    from tasks.store import Store

    settings, store = load_config(config, overrides), Store.from_environment()
    open_benchmark(benchmark).read()
    with working(session, "evaluate"):
        from flows.benchmark import benchmark_result, score_model, team_named
        from flows.cli.local_runs import run_flow

        team_named(model, settings, store)
        return benchmark_result(model, benchmark, run_flow(score_model, settings, model, benchmark, store.url))


def result_records(result: BenchmarkResult) -> list[dict[str, Any]]:
    """One record a category, and a last one of the whole benchmark with 95 % intervals."""
    categories = [_record(name, figures) for name, figures in result.by_category.items()]
    whole = {
        **_record(f"all of {result.benchmark}", result),
        "greedy": _with_interval(result.accuracy, result.interval),
        "mean": _with_interval(result.mean, result.mean_interval),
        "majority": _with_interval(result.majority, result.majority_interval),
    }
    return [*categories, whole]


def notes(result: BenchmarkResult) -> list[str]:
    """The lines below the table: the benchmark's own metric, the judge's score, and what the intervals rest on."""
    lines = [
        f"{name}: {value:.1f} (mean of {result.samples}: {result.own_metric_mean[name]:.1f})"
        for name, value in result.own_metric.items()
    ]
    if result.judged is not None:
        lines.append(f"the judge finds {result.judged:.1f} of the greedy answers right ({result.undecided} undecided)")
    lines += [f"{count} rows are left out: {reason}" for reason, count in result.left_out.items()]
    if result.clusters < result.items:
        lines.append(f"intervals over {result.clusters} groups of items that belong together")
    return [*lines, f"mean: of {result.samples} samples at temperature 1; {result.timeouts} grader time-outs"]


def _record(name: str, figures: BenchmarkFigures) -> dict[str, Any]:
    points = {"greedy": figures.accuracy, "mean": figures.mean, "majority": figures.majority}
    shares = {"unparsed": figures.unparsed, "truncated": figures.truncated}
    return {
        "category": name,
        "items": figures.items,
        **{column: f"{value:.1f}" for column, value in points.items()},
        **{column: f"{value:.1f} %" for column, value in shares.items()},
    }


def _with_interval(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.1f} ({interval[0]:.1f} to {interval[1]:.1f})"
