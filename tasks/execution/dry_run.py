"""Dry runs: every stage reports whether it would run or be reused, and why; nothing runs.

    with dry_run() as planned:
        play_round(...)

Inside, a stage that would run returns a planned artifact: it has a fingerprint, so later stages can be planned, but no
contents. Reading the contents raises `NotYetComputed` and so ends the dry run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from pydantic import JsonValue

from tasks.records import Row
from tasks.settings.errors import UserError
from tasks.settings.fingerprint import SAME_SETTINGS, digest
from tasks.store import Artifact, Manifest, Place, stage_order
from tasks.store.manifest import ARTIFACT, artifacts_in

R = TypeVar("R", bound=Row)


class NotYetComputed(UserError):
    """The contents of a planned artifact were read."""


@dataclass(frozen=True)
class PlannedArtifact(Artifact[R]):
    """The artifact that a stage would make: a fingerprint without contents."""

    @property
    def content_id(self) -> str:
        return f"{ARTIFACT}{self.fingerprint}@planned"

    def table(self) -> pa.Table:
        raise self._not_yet_computed()

    def folder(self, name: str) -> Path:
        raise self._not_yet_computed()

    def file(self, name: str) -> Path:
        raise self._not_yet_computed()

    def _not_yet_computed(self) -> NotYetComputed:
        return NotYetComputed(f"depends on the output of {self.manifest.stage}, which has not run")


@dataclass(frozen=True)
class PlannedStage:
    """Whether one stage would run or be reused."""

    place: str
    stage: str
    will_run: bool
    why: str


@dataclass
class DryRun:
    """The stages planned so far."""

    force: tuple[str, str] | None = None
    """A place, and the first of its stages that shall run in any case."""
    stages: list[PlannedStage] = field(default_factory=list)
    _planned: dict[str, str] = field(default_factory=dict)
    """Names of stages that would run, by the content id of their planned artifact."""

    def add_reuse(self, place: Place, artifact: Artifact[Any]) -> bool:
        """Note that a stage would be reused; False where it is forced to run."""
        if self._is_forced(place, artifact.manifest.stage):
            return False
        self.stages.append(PlannedStage(place.prefix, artifact.manifest.stage, False, "unchanged"))
        return True

    def add_run(
        self, place: Place, stage: str, row_type: type[R], fingerprinted: dict[str, JsonValue], reasons: list[str]
    ) -> PlannedArtifact[R]:
        """Note that a stage would run; `reasons` why its complete artifact cannot be reused."""
        why = self._why(self._is_forced(place, stage), fingerprinted, reasons)
        self.stages.append(PlannedStage(place.prefix, stage, True, "; ".join(why)))
        planned = PlannedArtifact(place.uri(stage), row_type, _manifest(stage, row_type, fingerprinted))
        self._planned[planned.content_id] = stage
        return planned

    def _why(self, forced: bool, fingerprinted: dict[str, JsonValue], reasons: list[str]) -> list[str]:
        earlier = [self._planned[text] for _, text in artifacts_in(fingerprinted) if text in self._planned]
        why = ["--force-from"] if forced else list(reasons or ["no complete artifact"])
        if earlier:
            why.append(f"after {', '.join(dict.fromkeys(earlier))}")
        if reasons and not forced and all(reason.endswith(SAME_SETTINGS) for reason in reasons):
            why.append("reused if that input comes out unchanged")
        return why

    def _is_forced(self, place: Place, stage: str) -> bool:
        return (
            self.force is not None
            and place.prefix == self.force[0]
            and stage_order(stage) >= stage_order(self.force[1])
        )


_current: ContextVar[DryRun | None] = ContextVar("dry_run", default=None)


def current_dry_run() -> DryRun | None:
    """The dry run that calls happen in, if any."""
    return _current.get()


@contextmanager
def dry_run(force: tuple[str, str] | None = None) -> Iterator[DryRun]:
    """Stages that are called inside the `with` are planned and do not run."""
    planned = DryRun(force)
    token = _current.set(planned)
    try:
        yield planned
    finally:
        _current.reset(token)


def _manifest(stage: str, row_type: type[Row], fingerprinted: dict[str, JsonValue]) -> Manifest:
    return Manifest(
        stage=stage,
        version=1,
        fingerprint=digest(fingerprinted),
        fingerprinted=fingerprinted,
        row_type=row_type.__name__,
        rows=0,
        counters={},
        files=(),
        attempt="planned",
        software={},
        seconds=0.0,
        created=datetime.now(UTC),
    )
