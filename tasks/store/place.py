"""The store, and the places in it where stages keep what they made."""

from __future__ import annotations

import logging
import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Self, TypeVar

import fsspec
import pyarrow.parquet as pq
from pydantic import JsonValue

from tasks.records import Row, to_table
from tasks.settings.addresses import without_secrets
from tasks.settings.errors import UserError
from tasks.settings.fingerprint import digest
from tasks.store.acquire import hold
from tasks.store.artifact import Artifact, Output, StaleArtifact
from tasks.store.files import Files, open_filesystem
from tasks.store.journal import JOURNAL, Journal
from tasks.store.lease import Lease
from tasks.store.manifest import MANIFEST, Manifest, StoredFile, software
from tasks.store.partial_results import PARTIAL, PartialResults

R = TypeVar("R", bound=Row)

log = logging.getLogger(__name__)

NAME = r"[a-z0-9][a-z0-9._-]*"


class Store:
    """A folder of artifacts behind any fsspec URL: `file://`, `s3://`, `memory://`. A bare path is a local folder.

    UserError for an address that holds a secret: manifests and logs tell it.
    """

    def __init__(self, url: str) -> None:
        fs, root = open_filesystem(without_secrets(url))
        self.url: str = fs.unstrip_protocol(root)
        self.files = Files(self.url)

    @property
    def fs(self) -> fsspec.AbstractFileSystem:
        return self.files.fs

    @property
    def root(self) -> str:
        return self.files.root

    @classmethod
    def from_environment(cls) -> Self:
        """The store that `ACTIVE_ZERO_STORE` names, else `artifacts/` in the working folder."""
        return cls(os.environ.get("ACTIVE_ZERO_STORE") or "artifacts")

    def runs(self) -> list[str]:
        """Names of the runs, sorted."""
        return self._folders("runs")

    def rounds(self, run: str) -> list[int]:
        """Numbers of a run's rounds, ascending. UserError for a run that is not there."""
        if run not in self.runs():
            known = ", ".join(self.runs()) or "none yet"
            raise UserError(f"There is no run {run!r} in {self.url}; known runs: {known}.")
        names = self._folders(f"runs/{run}")
        return sorted(int(name.removeprefix("round-")) for name in names if re.fullmatch(r"round-\d+", name))

    def stages(self, run: str, number: int) -> list[tuple[str, Manifest | None]]:
        """A round's stages in their order (`2-...` before `10-...`), with None for one that is not complete."""
        rounds = self.rounds(run)
        if number not in rounds:
            known = ", ".join(map(str, rounds)) or "none yet"
            raise UserError(f"Run {run!r} has no round {number}; it has: {known}.")
        place = Place.round(self, run, number)
        return [(name, place.manifest(name)) for name in sorted(self._folders(place.prefix), key=stage_order)]

    def _folders(self, prefix: str) -> list[str]:
        """Those with a name that `Place` takes: a journal is no stage."""
        _, folders = self.files.listing(f"{self.root}/{prefix}")
        return [name for name in folders if re.fullmatch(NAME, name)]


@dataclass(frozen=True)
class Place:
    """A folder of the store whose stages belong together: a round of a run, a corpus."""

    store: Store
    prefix: str
    """Relative to the store; each segment must start with a letter or digit, so no name can lead out of the store."""
    order: tuple[str, ...] = ()
    """Stages that are done here one after another: their folders are numbered in this order (see `folder`)."""

    def __post_init__(self) -> None:
        for segment in self.prefix.split("/"):
            _checked_name(segment)

    @classmethod
    def round(cls, store: Store, run: str, number: int, order: tuple[str, ...] = ()) -> Self:
        """Round `number` of a run, its stages in this order."""
        return cls(store, f"runs/{_checked_name(run)}/round-{number:03d}", order)

    def folder(self, stage: str) -> str:
        """The folder of a stage: `6-filter` for the sixth stage of the order; its bare name for any other one."""
        return f"{self.order.index(stage) + 1}-{stage}" if stage in self.order else _checked_name(stage)

    def uri(self, stage: str) -> str:
        """The folder of one stage, as an fsspec URL."""
        return f"{self.store.url}/{self.prefix}/{self.folder(stage)}"

    @property
    def journal(self) -> Journal:
        """Who plays here, and which attempts count."""
        return Journal(self.store.files, f"{self.store.root}/{self.prefix}/{JOURNAL}")

    def manifest(self, stage: str) -> Manifest | None:
        """The manifest that stands, its files unverified; None where the stage is not complete.

        Complete means committed, and a whole `manifest.json` there, which a person may remove. One that is damaged is
        named in the log. Where it is another attempt's, a process has written it that had lost its lease without
        knowing: what was committed counts.
        """
        stage = self.folder(stage)
        try:
            text = self.store.files.read(self.journal.manifest(stage))
        except (FileNotFoundError, NotADirectoryError):
            return None
        commit, where = self.journal.commit(stage, self.journal.head()), f"{self.uri(stage)}/{MANIFEST}"
        if commit is None:
            log.warning("%s was not committed: the stage counts as not complete", where)
            return None
        try:
            manifest, shown = Manifest.model_validate_json(commit.manifest), Manifest.model_validate_json(text)
        except ValueError:
            log.warning("%s cannot be read: the stage counts as not complete", where)
            return None
        if shown.attempt == manifest.attempt and text != commit.manifest.encode():
            log.warning("%s is not what was committed: the stage counts as not complete", where)
            return None
        if shown.attempt != manifest.attempt:
            log.warning("%s is attempt %s, but %s was committed, which counts", where, shown.attempt, manifest.attempt)
        return manifest

    def find(self, stage: str, row_type: type[R]) -> Artifact[R] | None:
        """The complete artifact, all its files whole, or None. Raises `DamagedArtifact` or `StaleArtifact`."""
        manifest = self.manifest(stage)
        return self.artifact(row_type, manifest) if manifest else None

    def artifact(self, row_type: type[R], manifest: Manifest) -> Artifact[R]:
        """What a manifest of this place describes, all its files whole. Raises as `find`."""
        uri = self.uri(manifest.stage)
        if manifest.row_type != row_type.__name__:
            raise StaleArtifact(f"{uri} holds rows of {manifest.row_type}, not {row_type.__name__}.")
        artifact = Artifact(uri, row_type, manifest)
        artifact.verify()
        return artifact

    def verify(self, manifest: Manifest) -> None:
        """Raises `DamagedArtifact` where a file of a stage of this place is not what its manifest says."""
        Artifact(self.uri(manifest.stage), Row, manifest).verify()

    def withdraw_from(self, stage: str, request: str | None = None, wait: bool = False) -> list[str]:
        """This stage and those after it count as not complete from here on; which ones did. Waits, or raises `Held`."""
        with self.hold(wait) as lease:
            complete = [name for name in self.journal.head().complete if stage_order(name) >= stage_order(stage)]
            lease.withdraw(complete, request)
        return sorted(complete, key=stage_order)

    def partial_results(self, stage: str, fingerprinted: dict[str, JsonValue]) -> PartialResults:
        """What a stage that computes this has made so far; for who holds the lease."""
        return PartialResults(self.store.files, f"{self._address(stage)}/{PARTIAL}/{digest(fingerprinted)[:32]}")

    def hold(self, wait: bool) -> AbstractContextManager[Lease]:
        """The lease on this place for the time of a `with`; held by another process, wait for it or raise `Held`."""
        return hold(self.journal, wait)

    def commit(
        self, stage: str, row_type: type[R], output: Output[R], fingerprinted: dict[str, JsonValue], seconds: float
    ) -> Artifact[R]:
        """Store the output under a new attempt's id, then make it count. Until then the older artifact stands.

        Raises `StoreFault` or `Fenced`; then nothing counts that did not count before.
        """
        stage, attempt = self.folder(stage), secrets.token_hex(4)
        with self.hold(wait=True) as lease:
            files = list(self._put_files(stage, attempt, row_type, output))
            manifest = _manifest(stage, attempt, row_type, output, fingerprinted, files, seconds)
            lease.commit(manifest)
        return Artifact(self.uri(stage), row_type, manifest)

    def _put_files(self, stage: str, attempt: str, row_type: type[R], output: Output[R]) -> Iterator[StoredFile]:
        with tempfile.TemporaryDirectory() as temporary:
            part = Path(temporary) / "part-00000.parquet"
            pq.write_table(to_table(row_type, output.rows), part)
            yield self._put_file(stage, part.name, f"part-{attempt}-00000.parquet", part)
        for name, local in _expanded(output.files):
            yield self._put_file(stage, name, f"{attempt}/{name}", local)

    def _put_file(self, stage: str, name: str, path: str, local: Path) -> StoredFile:
        size, sha256, etag = self.store.files.put(local, f"{self._address(stage)}/{path}")
        return StoredFile(name=name, path=path, size=size, sha256=sha256, etag=etag)

    def _address(self, stage: str) -> str:
        return f"{self.store.root}/{self.prefix}/{self.folder(stage)}"


def _manifest(
    stage: str,
    attempt: str,
    row_type: type[Row],
    output: Output[Any],
    fingerprinted: dict[str, JsonValue],
    files: Sequence[StoredFile],
    seconds: float,
) -> Manifest:
    version = fingerprinted.get("version")
    return Manifest(
        stage=stage,
        version=version if isinstance(version, int) else 1,
        fingerprint=digest(fingerprinted),
        fingerprinted=fingerprinted,
        row_type=row_type.__name__,
        rows=len(output.rows),
        counters=dict(output.counters),
        files=tuple(files),
        attempt=attempt,
        software=software(),
        seconds=round(seconds, 3),
        created=datetime.now(UTC),
    )


def stage_order(name: str) -> tuple[int, str]:
    number = name.partition("-")[0]
    return (int(number) if number.isdigit() else 10**6, name)


def _checked_name(name: str) -> str:
    if not re.fullmatch(NAME, name):
        raise UserError(f"{name!r} cannot be a name in the store: use a-z, 0-9, '.', '_', '-', not a sign first.")
    return name


def _expanded(files: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    """Every file with its relative name, folders walked. Names are ours, but a `..` in one would leave the attempt."""
    for name, local in files.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or name.startswith("part-"):
            raise ValueError(f"{name!r} cannot be the name of an attached file")
        if local.is_dir():
            inside = sorted(file for file in local.rglob("*") if file.is_file())
            yield from ((f"{name}/{file.relative_to(local).as_posix()}", file) for file in inside)
        else:
            yield name, local
