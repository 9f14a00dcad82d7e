"""A round in progress, as the journal and the stages tell it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from flows.round import STAGES, round_place
from tasks.execution.stored_progress import LiveProgress, read_progress
from tasks.report import report_round, stage_facts
from tasks.store import Place, Store


@dataclass(frozen=True)
class LiveRound:
    """What is complete, and what works now."""

    complete: list[dict[str, Any]]
    """The complete stages in order, as the page shows them: without the report, of which the page is a part."""
    stages: int
    """Stages of a whole round."""
    finished: bool
    """Whether all stages are complete, the report too."""
    at_work: bool
    """Whether a process holds the round's lease."""
    present: str | None
    """The progress of the present stage, as its log has it; None where it has reported nothing yet."""
    age: float | None
    """Seconds since then."""


def live_round(store: Store, run: str, number: int) -> dict[str, Any]:
    """The state of a round as JSON. UserError where there is no such round."""
    store.check_round(run, number)
    place = round_place(store, run, number)
    manifests = [(stage, place.manifest(stage)) for stage in STAGES]
    complete = [
        asdict(stage_facts(manifest)) for stage, manifest in manifests if manifest and stage != report_round.name
    ]
    missing = [stage for stage, manifest in manifests if manifest is None]
    progress = _present(place, round_place(store, run, 0), missing[:1])
    age = None if progress is None else (datetime.now(UTC) - progress.at).total_seconds()
    at_work = place.journal.head().owner is not None
    present = None if progress is None else progress.line
    return asdict(LiveRound(complete, len(STAGES), not missing, at_work, present, age))


def is_complete(store: Store, run: str, number: int) -> bool:
    """Whether the round's report is complete."""
    return round_place(store, run, number).manifest(report_round.name) is not None


def _present(place: Place, base: Place, next_stage: list[str]) -> LiveProgress | None:
    """The progress of the next stage; an evaluation may be that of the base model, whose place is round 0."""
    found = [read_progress(where, stage) for stage in next_stage for where in (place, base)]
    return max((each for each in found if each is not None), key=lambda each: each.at, default=None)
