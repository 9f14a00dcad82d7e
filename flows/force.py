"""Play a round again from a stage on, although nothing has changed: `--force-from`."""

from __future__ import annotations

import logging

from flows import round as one_round
from flows.history import standing
from tasks.execution.stage import Stage
from tasks.settings.errors import UserError
from tasks.store import Place, Store, stage_order

log = logging.getLogger(__name__)

withdrawn_for: set[str] = set()
"""The requests for which this process has withdrawn: what would go on with them must not ask again."""
STAGES = tuple(sorted((part.name for part in vars(one_round).values() if isinstance(part, Stage)), key=stage_order))
"""The stages of a round: those that `flows/round.py` plays."""


def round_to_force(store: Store, run: str, stage: str) -> int:
    """The round under way if any of its stages is complete, else the last complete one. UserError for no stage."""
    if stage not in STAGES:
        raise UserError(f"{stage!r} is no stage of a round: give one of {', '.join(STAGES)}.")
    following = standing(store, run).next
    under_way = Place.round(store, run, following).journal.head().stands
    return following if under_way or following == 1 else following - 1


def withdraw(store: Store, run: str, stage: str, request: str, wait: bool = False) -> None:
    """What the round holds from this stage on counts as not complete; once a request, however often it comes.

    A flow run that is retried asks again, and shall not lose what it has played since. Where another process plays the
    round, wait for it, or raise `Held`.
    """
    number = round_to_force(store, run, stage)
    if run in store.runs() and any(_has_come(store, run, one, request) for one in store.rounds(run)):
        return
    withdrawn = Place.round(store, run, number).withdraw_from(stage, request, wait)
    withdrawn_for.add(request)
    log.info("round %d plays again from %s: %s", number, stage, ", ".join(withdrawn) or "nothing was complete")


def _has_come(store: Store, run: str, number: int, request: str) -> bool:
    return any(entry.request == request for entry in Place.round(store, run, number).journal.entries())
