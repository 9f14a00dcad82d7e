"""What a round would do, without doing it: every stage says whether it would be reused or played, and why.

    with dry_run() as planned:
        play_round.fn(...)

Inside, a stage that would be played hands on an artifact that is only planned: it has a fingerprint, so the stages
after it can be told, but nothing to read. What reads it all the same ends the forecast with `NotYetComputed`.
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
    """What a planned stage will make was asked for."""


@dataclass(frozen=True)
class PlannedArtifact(Artifact[R]):
    """What a stage would make."""

    @property
    def content_id(self) -> str:
        return f"{ARTIFACT}{self.fingerprint}@planned"

    def table(self) -> pa.Table:
        raise NotYetComputed(self._told)

    def folder(self, name: str) -> Path:
        raise NotYetComputed(self._told)

    def file(self, name: str) -> Path:
        raise NotYetComputed(self._told)

    @property
    def _told(self) -> str:
        return f"what follows depends on what {self.manifest.stage} makes"


@dataclass(frozen=True)
class PlannedStage:
    """What would become of one stage."""

    place: str
    stage: str
    played: bool
    why: str


@dataclass
class DryRun:
    """What has been told so far."""

    force: tuple[str, str] | None = None
    """A place, and the stage from which on it shall be played in any case."""
    stages: list[PlannedStage] = field(default_factory=list)
    _planned: dict[str, str] = field(default_factory=dict)
    """Stages by the fingerprints of what they would make."""

    def reused(self, place: Place, artifact: Artifact[Any]) -> bool:
        """Note that a stage would be reused; False where it is forced."""
        if self._is_forced(place, artifact.manifest.stage):
            return False
        self.stages.append(PlannedStage(place.prefix, artifact.manifest.stage, False, "nothing changed"))
        return True

    def played(
        self, place: Place, stage: str, row_type: type[R], fingerprinted: dict[str, JsonValue], reasons: list[str]
    ) -> PlannedArtifact[R]:
        """Note that a stage would be played; `reasons` why what is there cannot be reused."""
        waits = [self._planned[text] for _, text in artifacts_in(fingerprinted) if text in self._planned]
        forced = ["--force-from"] if self._is_forced(place, stage) else []
        told = list(forced or reasons or ["nothing complete is there"])
        if waits:
            told.append(f"after {', '.join(dict.fromkeys(waits))}")
        if reasons and not forced and all(reason.endswith(SAME_SETTINGS) for reason in reasons):
            told.append("reused after all if that comes out as before")
        self.stages.append(PlannedStage(place.prefix, stage, True, "; ".join(told)))
        planned = PlannedArtifact(place.uri(stage), row_type, _manifest(stage, row_type, fingerprinted))
        self._planned[planned.content_id] = stage
        return planned

    def _is_forced(self, place: Place, stage: str) -> bool:
        return (
            self.force is not None
            and place.prefix == self.force[0]
            and stage_order(stage) >= stage_order(self.force[1])
        )


_current: ContextVar[DryRun | None] = ContextVar("forecast", default=None)


def current_dry_run() -> DryRun | None:
    """The forecast under way, if stages shall only be told."""
    return _current.get()


@contextmanager
def dry_run(force: tuple[str, str] | None = None) -> Iterator[DryRun]:
    """Stages that are called inside are told, not played."""
    told = DryRun(force)
    token = _current.set(told)
    try:
        yield told
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
