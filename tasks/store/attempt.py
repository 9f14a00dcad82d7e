"""One attempt of a stage: its files are uploaded under the attempt's id, and its manifest lists them."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Generic, TypeVar

import pyarrow.parquet as pq
from pydantic import JsonValue

from tasks.records import Row, to_table
from tasks.settings.fingerprint import digest
from tasks.store.artifact import Output
from tasks.store.files import Files
from tasks.store.manifest import Manifest, StoredFile, software

R = TypeVar("R", bound=Row)


@dataclass(frozen=True)
class Attempt(Generic[R]):
    """A stage's output on its way into the store."""

    stage: str
    """The stage's folder: `6-filter`."""
    row_type: type[R]
    output: Output[R]
    id: str = field(default_factory=lambda: secrets.token_hex(4))

    def upload(self, files: Files, folder: str) -> tuple[StoredFile, ...]:
        """Store rows and attached files in the stage's folder, each verified. Raises `StoreFault`."""
        return tuple(self._uploaded(files, folder))

    def manifest(self, files: tuple[StoredFile, ...], fingerprinted: dict[str, JsonValue], seconds: float) -> Manifest:
        """The manifest of the uploaded files; `seconds` is the duration of the stage's work."""
        version = fingerprinted.get("version")
        return Manifest(
            stage=self.stage,
            version=version if isinstance(version, int) else 1,
            fingerprint=digest(fingerprinted),
            fingerprinted=fingerprinted,
            row_type=self.row_type.__name__,
            rows=len(self.output.rows),
            counters=dict(self.output.counters),
            files=files,
            attempt=self.id,
            software=software(),
            seconds=round(seconds, 3),
            created=datetime.now(UTC),
        )

    def _uploaded(self, files: Files, folder: str) -> Iterator[StoredFile]:
        with tempfile.TemporaryDirectory() as temporary:
            rows = Path(temporary) / "part-00000.parquet"
            pq.write_table(to_table(self.row_type, self.output.rows), rows)
            yield _upload(files, folder, rows.name, f"part-{self.id}-00000.parquet", rows)
        for name, local in _expanded(self.output.files):
            yield _upload(files, folder, name, f"{self.id}/{name}", local)


def _upload(files: Files, folder: str, name: str, path: str, local: Path) -> StoredFile:
    size, sha256, etag = files.put(local, f"{folder}/{path}")
    return StoredFile(name=name, path=path, size=size, sha256=sha256, etag=etag)


def _expanded(files: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    """Every file with its relative name; folders are walked. ValueError for a name that leaves the attempt's folder."""
    for name, local in files.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or name.startswith("part-"):
            raise ValueError(f"{name!r} cannot be the name of an attached file")
        if local.is_dir():
            inside = sorted(file for file in local.rglob("*") if file.is_file())
            yield from ((f"{name}/{file.relative_to(local).as_posix()}", file) for file in inside)
        else:
            yield name, local
