"""Play a round again from one stage on, although nothing has changed: `--force-from`."""

from __future__ import annotations

import logging

from flows.history import read_history
from flows.round import STAGES, round_place
from tasks.settings.errors import UserError
from tasks.store import Store

log = logging.getLogger(__name__)

withdrawn_for: set[str] = set()
"""The requests for which this process has withdrawn stages: a resumed command must not force them again."""
FOLDERS = tuple(f"{number}-{stage}" for number, stage in enumerate(STAGES, 1))
"""The stages of a round by the names of their folders."""


def round_to_force(store: Store, run: str, stage: str) -> int:
    """The round in progress if any of its stages is complete, else the last complete one. UserError for no stage."""
    if stage not in FOLDERS:
        raise UserError(f"{stage!r} is no stage of a round: give one of {', '.join(FOLDERS)}.")
    following = read_history(store, run).next_round
    in_progress = round_place(store, run, following).journal.head().complete
    return following if in_progress or following == 1 else following - 1


def withdraw(store: Store, run: str, stage: str, request: str, wait: bool = False) -> None:
    """Mark this stage and those after it as not complete; once a request, however often it is repeated.

    A flow run that is retried repeats its request, and must not lose the stages that it has completed since. Where
    another process plays the round, wait for it, or raise `Held`.
    """
    number = round_to_force(store, run, stage)
    if run in store.runs() and any(_was_served(store, run, one, request) for one in store.rounds(run)):
        return
    withdrawn = round_place(store, run, number).withdraw_from(stage, request, wait)
    withdrawn_for.add(request)
    log.info("round %d plays again from %s: %s", number, stage, ", ".join(withdrawn) or "nothing was complete")


def _was_served(store: Store, run: str, number: int, request: str) -> bool:
    return any(entry.request == request for entry in round_place(store, run, number).journal.entries())
