"""`active-zero plan` and `gc`: what would be played, and what may be removed. Neither plays anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import groupby
from typing import Any

from tasks.config import load_config
from tasks.store import Store
from tasks.store.garbage import Garbage, garbage, sweep

PLAN = ("stage", "where", "state", "why")
GARBAGE = ("path", "bytes", "hours", "why")


def plan(config: str, run: str, overrides: Sequence[str], force_from: str | None) -> tuple[int, list[dict[str, Any]]]:
    """The round that `iterate` would play next, and one record a stage; alike ones of a corpus's shards are joined."""
    from flows.force import FOLDERS, round_to_force
    from flows.history import read_history, start_of
    from flows.round import play_round, round_place
    from tasks.execution.dry_run import NotYetComputed, dry_run

    settings, store = load_config(config, overrides), Store.from_environment()
    number = round_to_force(store, run, force_from) if force_from else read_history(store, run).next_round
    force = (round_place(store, run, number).prefix, force_from) if force_from else None
    ended = ""
    with dry_run(force) as told:
        try:
            play_round(settings, store, run, number, start_of(settings, store, run, number))
        except NotYetComputed as error:
            ended = str(error)
    records = [
        {"stage": one.stage, "where": one.place, "state": "played" if one.played else "reused", "why": one.why}
        for one in told.stages
    ]
    rest = [name for name in FOLDERS if name not in {one.stage for one in told.stages}]
    unknown = [{"stage": name, "where": round_place(store, run, number).prefix, "state": "played"} for name in rest]
    return number, [*_joined(records), *({**one, "why": ended} for one in unknown)]


def gc(store: Store, hours: float, dry: bool) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Records of what was removed, or with `dry` would be, and the places that were left alone."""
    swept = (garbage if dry else sweep)(store.files, timedelta(hours=hours))
    return [_record(one) for one in swept.garbage], swept.busy


def total(records: Sequence[dict[str, Any]], busy: Sequence[str], dry: bool) -> list[str]:
    """The last lines of `gc`."""
    size = sum(record["bytes"] for record in records)
    verb = "would be removed" if dry else "removed"
    alone = [f"left alone, since somebody plays there: {place}" for place in busy]
    return [f"{len(records)} files, {size / 1e6:.1f} MB {verb}", *alone]


def _record(one: Garbage) -> dict[str, Any]:
    return {"path": one.path, "bytes": one.size, "hours": round(one.age.total_seconds() / 3600, 1), "why": one.why}


def _joined(records: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Of neighbours that differ only in where, the first, with how many more there are."""
    for _, alike in groupby(records, key=lambda record: (record["stage"], record["state"], record["why"])):
        first, *more = alike
        yield {**first, "where": f"{first['where']} and {len(more)} more"} if more else first
