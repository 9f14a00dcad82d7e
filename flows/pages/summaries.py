"""What a store holds, one record a run."""

from __future__ import annotations

from typing import Any

from flows.history import indexed_history, read_history, read_indexes
from tasks.settings.errors import UserError
from tasks.store import Store


def run_summaries(store: Store) -> list[dict[str, Any]]:
    """One record for each run in the store."""
    with store.snapshot():
        read_indexes(store)
        return [_summary(store, name) for name in store.runs()]


def _summary(store: Store, name: str) -> dict[str, Any]:
    """One run's record; for a run that cannot be read, `state` is the error."""
    try:
        history = indexed_history(store, name) or read_history(store, name)
    except UserError as error:
        return _record(name, state=str(error))
    last = history.decisions[-1][1] if history.decisions else None
    best = dict(history.decisions).get(history.team_round)
    return _record(
        name,
        rounds=len(history.decisions),
        promoted=[number for number, decision in history.decisions if decision.promoted],
        team=history.team_round,
        accuracy=best.mean_after if best else (last.mean_before if last else None),
        state=_state(store, name, history.next_round),
    )


def _record(name: str, **known: Any) -> dict[str, Any]:
    """`team`: the round that made the current team (0: the base model); `accuracy`: its mean of samples on the gate
    benchmark, in points."""
    return {"run": name, "rounds": 0, "promoted": [], "team": 0, "accuracy": None, "state": "", **known}


def _state(store: Store, run: str, number: int) -> str:
    """Whether round `number` has started, and how many of its stages are complete."""
    if number not in store.rounds(run):
        return f"round {number} is next"
    complete = sum(manifest is not None for _, manifest in store.stages(run, number))
    return f"round {number} is in progress, {complete} stages complete"
