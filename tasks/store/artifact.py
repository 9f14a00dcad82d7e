"""The rows and files of a complete stage: made by `Output`, handed on as `Artifact`, checked whenever they are read.

Rows and downloads are hashed as they are read, always. `verify` hashes a file once a process, and again when the
file's `version` has changed. That is safe, because no file of an artifact is ever written twice: other bytes under its
name are damage, and damage changes the ETag of an object, or the inode or time of change of a local file, which no
program can set back. (A time younger than two seconds is not trusted: file times have steps.) `verify` does not read
an object whose ETag is the one of the bytes that were verified at the commit. Decay of a disk that changes bytes
without changing the file's times is found when the file is read.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from platformdirs import user_cache_path

from tasks.records import Row
from tasks.settings.errors import UserError
from tasks.settings.fingerprint import digest, file_sha256
from tasks.store.files import Files
from tasks.store.manifest import ARTIFACT, Manifest, StoredFile

R = TypeVar("R", bound=Row)


class DamagedArtifact(UserError):
    """A file is missing or is not what its manifest says."""


class StaleArtifact(UserError):
    """The artifact was written by a version of the program with another row class or other columns."""


@dataclass(frozen=True)
class Output(Generic[R]):
    """What the work of a stage returns."""

    rows: Sequence[R] | pa.Table
    """Rows, or, for millions of rows, a table with the columns of the row class."""
    counters: Mapping[str, int] = field(default_factory=dict)
    """Row counts by reason: `{"kept": 120, "too easy": 31}`."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """Local files or folders to attach, by relative name. They are copied into the store."""


@dataclass(frozen=True)
class Artifact(Generic[R]):
    """A handle to a complete stage's rows and files. Nothing is read until a method reads it."""

    uri: str
    row_type: type[R]
    manifest: Manifest

    @property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint

    @property
    def content_id(self) -> str:
        """How the artifact enters another stage's fingerprint: its own fingerprint, and the digest of its contents."""
        return f"{ARTIFACT}{self.fingerprint}@{self.manifest.contents}"

    @property
    def rows(self) -> int:
        return self.manifest.rows

    @property
    def counters(self) -> dict[str, int]:
        return self.manifest.counters

    @property
    def rows_at(self) -> str:
        """The address of the rows, as pandas and datasets read it; the folder would not do, since it holds more."""
        return ", ".join(f"{self.uri}/{file.path}" for file in self._parts)

    @property
    def _parts(self) -> list[StoredFile]:
        return [file for file in self.manifest.files if file.name.startswith("part-")]

    def read(self) -> list[R]:
        """All rows. Raises `DamagedArtifact` or `StaleArtifact`."""
        return self.row_type.from_table(self.table())

    def table(self) -> pa.Table:
        """The rows as an Arrow table with the row class's schema; the bytes are checked against the manifest."""
        table = pa.concat_tables(_read(self._bytes(part)) for part in self._parts)
        if not table.schema.equals(self.row_type.arrow_schema()):
            raise StaleArtifact(
                f"{self.uri} has other columns than {self.row_type.__name__} of this version: run its stage again."
            )
        return table

    def folder(self, name: str) -> Path:
        """The local path of an attached folder: in a `file://` store the folder itself, else a cached copy."""
        return self._local(name, self._attached(f"{name}/"))

    def file(self, name: str) -> Path:
        """The local path of an attached file; see `folder`."""
        return self._local(name, [file for file in self._attached(name) if file.name == name])

    def verify(self) -> None:
        """Verify every file. Raises `DamagedArtifact`, which names the first damaged file."""
        files = self._files
        for file in self.manifest.files:
            self._check(files, f"{files.root}/{file.path}", file)

    def _attached(self, prefix: str) -> list[StoredFile]:
        attached = [file for file in self.manifest.files if file.name.startswith(prefix)]
        if not attached:
            names = sorted({file.name.partition("/")[0] for file in self.manifest.files})
            raise UserError(f"{self.uri} has nothing attached as {prefix.rstrip('/')!r}; it has {', '.join(names)}.")
        return attached

    def _local(self, name: str, wanted: list[StoredFile]) -> Path:
        files = self._files
        if files.local:
            for file in wanted:
                self._check(files, f"{files.root}/{file.path}", file)
            return Path(files.root) / self.manifest.attempt / name
        cached = user_cache_path("active-zero") / digest({file.name: file.sha256 for file in wanted})
        if not self._is_whole(cached, wanted):
            self._download(files, wanted, cached)
        return cached / name

    def _is_whole(self, cached: Path, wanted: list[StoredFile]) -> bool:
        """Whether the cached copy is there and whole; a damaged copy is removed."""
        try:
            for file in wanted:
                self._check(Files(str(cached)), str(cached / file.name), file)
        except DamagedArtifact:
            shutil.rmtree(cached, ignore_errors=True)
            return False
        return True

    def _download(self, files: Files, wanted: list[StoredFile], target: Path) -> None:
        """Fetch into a temporary folder and rename it: a killed download leaves no partial copy at `target`."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
            partial = Path(temporary) / "partial"
            for file in wanted:
                self._fetch(files, file, partial / file.name)
            try:
                partial.replace(target)
            except OSError:
                if not target.exists():  # else another process has fetched the same files
                    raise

    def _fetch(self, files: Files, file: StoredFile, local: Path) -> None:
        local.parent.mkdir(parents=True, exist_ok=True)
        try:
            files.get(f"{files.root}/{file.path}", local)
        except FileNotFoundError:
            raise self._damaged(file, "is missing") from None
        self._compare(file, local.stat().st_size, file_sha256(local))

    def _bytes(self, file: StoredFile) -> bytes:
        files = self._files
        try:
            data = files.read(f"{files.root}/{file.path}")
        except FileNotFoundError:
            raise self._damaged(file, "is missing") from None
        self._compare(file, len(data), hashlib.sha256(data).hexdigest())
        return data

    def _check(self, files: Files, path: str, file: StoredFile) -> None:
        try:
            stat = files.stat(path)
            if (path, stat.version) in _verified or (file.etag is not None and file.etag == stat.etag):
                return
            self._compare(file, stat.size, file.sha256 if stat.size != file.size else files.sha256(path))
        except FileNotFoundError:
            raise self._damaged(file, "is missing") from None
        if stat.settled:
            _verified.add((path, stat.version))

    @property
    def _files(self) -> Files:
        return Files(self.uri)

    def _compare(self, file: StoredFile, size: int, sha256: str) -> None:
        if size != file.size:
            raise self._damaged(file, f"has {size} bytes instead of {file.size}")
        if sha256 != file.sha256:
            raise self._damaged(file, "has other bytes than were written (sha256 differs)")

    def _damaged(self, file: StoredFile, what: str) -> DamagedArtifact:
        return DamagedArtifact(f"{self.uri}/{file.path} {what}: run the round again, and this stage runs again.")


_verified: set[tuple[str, str]] = set()
"""Path and version of every file that this process has verified."""


def _read(data: bytes) -> pa.Table:
    """Read without Arrow's threads: one that frees a Python object while the interpreter exits aborts the process."""
    return pq.ParquetFile(pa.BufferReader(data), pre_buffer=False).read(use_threads=False)
