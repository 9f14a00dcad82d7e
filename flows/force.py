"""`--force-from`: play a round again from one stage on, although nothing has changed."""

from __future__ import annotations

import logging

from flows.history import read_history
from flows.round import FOLDERS, round_place
from tasks.settings.errors import UserError
from tasks.store import Store

log = logging.getLogger(__name__)

withdrawn_for: set[str] = set()
"""Requests for which this process has withdrawn stages. The command that resumes this one must not force again."""


def round_to_force(store: Store, run: str, stage: str) -> int:
    """The round in progress if any of its stages is complete, else the last complete round.

    UserError if `stage` is no stage of a round.
    """
    if stage not in FOLDERS:
        raise UserError(f"{stage!r} is no stage of a round: give one of {', '.join(FOLDERS)}.")
    next_round = read_history(store, run).next_round
    in_progress = round_place(store, run, next_round).journal.head().complete
    return next_round if in_progress or next_round == 1 else next_round - 1


def withdraw(store: Store, run: str, stage: str, request: str, wait: bool = False) -> None:
    """Mark this stage and all later ones as not complete; the same request does so only once.

    A retried flow run repeats its request, and must keep the stages that it has completed since. While another process
    plays the round, wait for it, or raise `Held`.
    """
    number = round_to_force(store, run, stage)
    if run in store.runs() and any(_is_served(store, run, existing, request) for existing in store.rounds(run)):
        return
    withdrawn = round_place(store, run, number).withdraw_from(stage, request, wait)
    withdrawn_for.add(request)
    log.info("round %d is played again from %s: %s", number, stage, ", ".join(withdrawn) or "nothing was complete")


def _is_served(store: Store, run: str, number: int, request: str) -> bool:
    """Whether the journal of a round records that stages were withdrawn for a request."""
    return any(entry.request == request for entry in round_place(store, run, number).journal.entries())
