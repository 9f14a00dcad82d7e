"""What a round would do, without doing it: every stage says whether it would be reused or played, and why.

    with forecasting() as forecast:
        play_round.fn(...)

Inside, a stage that would be played hands on an artifact that is only planned: it has an identity, so the stages after
it can be told, but nothing to read. What reads it all the same ends the forecast with `NotPlayed`.
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


class NotPlayed(UserError):
    """What a planned stage will make was asked for."""


@dataclass(frozen=True)
class Planned(Artifact[R]):
    """What a stage would make."""

    @property
    def identity(self) -> str:
        return f"{ARTIFACT}{self.fingerprint}@planned"

    def table(self) -> pa.Table:
        raise NotPlayed(self._told)

    def folder(self, name: str) -> Path:
        raise NotPlayed(self._told)

    def file(self, name: str) -> Path:
        raise NotPlayed(self._told)

    @property
    def _told(self) -> str:
        return f"what follows depends on what {self.manifest.stage} makes"


@dataclass(frozen=True)
class Outlook:
    """What would become of one stage."""

    place: str
    stage: str
    played: bool
    why: str


@dataclass
class Forecast:
    """What has been told so far."""

    force: tuple[str, str] | None = None
    """A place, and the stage from which on it shall be played in any case."""
    outlooks: list[Outlook] = field(default_factory=list)
    _planned: dict[str, str] = field(default_factory=dict)
    """Stages by the identities of what they would make."""

    def reused(self, place: Place, artifact: Artifact[Any]) -> bool:
        """Note that a stage would be reused; False where it is forced."""
        if self._is_forced(place, artifact.manifest.stage):
            return False
        self.outlooks.append(Outlook(place.prefix, artifact.manifest.stage, False, "nothing changed"))
        return True

    def played(
        self, place: Place, stage: str, row_type: type[R], identity: dict[str, JsonValue], reasons: list[str]
    ) -> Planned[R]:
        """Note that a stage would be played; `reasons` why what is there cannot be reused."""
        waits = [self._planned[text] for _, text in artifacts_in(identity) if text in self._planned]
        forced = ["--force-from"] if self._is_forced(place, stage) else []
        told = list(forced or reasons or ["nothing complete is there"])
        if waits:
            told.append(f"after {', '.join(dict.fromkeys(waits))}")
        if reasons and not forced and all(reason.endswith(SAME_SETTINGS) for reason in reasons):
            told.append("reused after all if that comes out as before")
        self.outlooks.append(Outlook(place.prefix, stage, True, "; ".join(told)))
        planned = Planned(place.uri(stage), row_type, _manifest(stage, row_type, identity))
        self._planned[planned.identity] = stage
        return planned

    def _is_forced(self, place: Place, stage: str) -> bool:
        return (
            self.force is not None
            and place.prefix == self.force[0]
            and stage_order(stage) >= stage_order(self.force[1])
        )


_current: ContextVar[Forecast | None] = ContextVar("forecast", default=None)


def forecast() -> Forecast | None:
    """The forecast under way, if stages shall only be told."""
    return _current.get()


@contextmanager
def forecasting(force: tuple[str, str] | None = None) -> Iterator[Forecast]:
    """Stages that are called inside are told, not played."""
    told = Forecast(force)
    token = _current.set(told)
    try:
        yield told
    finally:
        _current.reset(token)


def _manifest(stage: str, row_type: type[Row], identity: dict[str, JsonValue]) -> Manifest:
    return Manifest(
        stage=stage,
        version=1,
        fingerprint=digest(identity),
        identity=identity,
        row_type=row_type.__name__,
        rows=0,
        counters={},
        files=(),
        attempt="planned",
        software={},
        seconds=0.0,
        created=datetime.now(UTC),
    )
