"""`active-zero evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flows.cli.runtime import working
from tasks.benchmarks import open_benchmark
from tasks.config import load_config
from tasks.store import Store

if TYPE_CHECKING:
    from flows.benchmark import BenchmarkFigures, BenchmarkResult

COLUMNS = ("category", "items", "greedy", "mean", "majority", "unparsed", "truncated")


def evaluate(model: str, benchmark: str, config: str, overrides: Sequence[str]) -> BenchmarkResult:
    """Score a model; what can be wrong with the names is found before any item is answered."""
    settings, store = load_config(config, overrides), Store.from_environment()
    open_benchmark(benchmark).items()
    with working("evaluate"):
        from flows.benchmark import benchmark_result, score_model, team_named

        team_named(model, settings, store)
        return benchmark_result(model, benchmark, score_model(settings, model, benchmark, store.url))


def table(card: BenchmarkResult) -> tuple[list[dict[str, Any]], Sequence[str], str]:
    """Records, columns, and what to say without any: the categories, and the whole last with its intervals."""
    records = [_record(name, one) for name, one in card.by_category.items()]
    whole = {
        **_record(f"all of {card.benchmark}", card),
        "greedy": _with_interval(card.accuracy, card.interval),
        "mean": _with_interval(card.mean, card.mean_interval),
        "majority": _with_interval(card.majority, card.majority_interval),
    }
    return [*records, whole], COLUMNS, "No items."


def notes(card: BenchmarkResult) -> list[str]:
    """What stands beside the table: the benchmark's own metric, the judge, and what the intervals rest on."""
    lines = [
        f"{name}: {value:.1f} (mean of {card.samples}: {card.own_mean[name]:.1f})" for name, value in card.own.items()
    ]
    if card.judged is not None:
        lines.append(f"the judge finds {card.judged:.1f} of the greedy answers right ({card.undecided} undecided)")
    if card.clusters < card.items:
        lines.append(f"intervals over {card.clusters} groups of items that go together")
    return [*lines, f"mean: of {card.samples} samples at temperature 1; {card.timeouts} grader time-outs"]


def _record(name: str, card: BenchmarkFigures) -> dict[str, Any]:
    figures = {"greedy": card.accuracy, "mean": card.mean, "majority": card.majority}
    shares = {"unparsed": card.unparsed, "truncated": card.truncated}
    return {
        "category": name,
        "items": card.items,
        **{figure: f"{value:.1f}" for figure, value in figures.items()},
        **{figure: f"{value:.1f} %" for figure, value in shares.items()},
    }


def _with_interval(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.1f} ({interval[0]:.1f} to {interval[1]:.1f})"
