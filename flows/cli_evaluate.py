"""`active-zero evaluate` and `grade`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flows.cli_work import working
from tasks.benchmarks import open_benchmark
from tasks.config import load_config
from tasks.engines.model_folder import check_model
from tasks.store import Store

if TYPE_CHECKING:
    from flows.benchmark import Card, Scorecard

COLUMNS = ("domain", "items", "greedy", "mean", "majority")


def evaluate(model: str, benchmark: str, config: str, overrides: Sequence[str]) -> Scorecard:
    """Score a model; what can be wrong with the names is found before anything starts."""
    settings, store = load_config(config, overrides), Store.from_environment()
    open_benchmark(benchmark).items()
    with working("evaluate"):
        from flows.benchmark import score_model, scorecard, team_named

        check_model(str(team_named(model, settings, store).model))
        return scorecard(model, benchmark, score_model(settings, model, benchmark, store.url))


def table(card: Scorecard) -> tuple[list[dict[str, Any]], Sequence[str], str]:
    """Records, columns, and what to say without any: the whole last, with its intervals."""
    records = [_record(name, one) for name, one in card.domains.items()]
    whole = {
        "domain": f"all of {card.benchmark}",
        "items": card.items,
        "greedy": _with_interval(card.greedy, card.greedy_interval),
        "mean": _with_interval(card.mean, card.mean_interval),
        "majority": _with_interval(card.majority, card.majority_interval),
    }
    return [*records, whole], COLUMNS, "No items."


def graded(prediction: str, target: str) -> bool:
    """Whether a bare answer, or the boxed one of a whole reply, equals the target."""
    from tasks.grading import equal
    from tasks.records import Reject
    from tasks.roles import solver

    answer = solver.parse(prediction)
    return bool(equal(prediction if isinstance(answer, Reject) else answer, target))


def _record(name: str, card: Card) -> dict[str, Any]:
    figures = {figure: f"{getattr(card, figure):.1f}" for figure in COLUMNS[2:]}
    return {"domain": name, "items": card.items, **figures}


def _with_interval(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.1f} ({interval[0]:.1f} to {interval[1]:.1f})"
