"""A complete stage's rows and files: made, handed on, read, and checked whenever they are read.

Rows and downloads are hashed as they are read, always. Looking whether an artifact is still whole (`verify`) hashes a
file once a process, and again when its `version` is another one. That is safe, because no file of an artifact is ever
written twice: other bytes under its name are damage, and an object store gives other bytes another ETag, a disk another
inode or time of change, which no program can set back. (A time that is younger than two seconds does not count: its
clock has steps.) An object whose ETag is the one that it had when its bytes were verified at the commit need not be
read at all to look. What only a disk's decay changes under an unchanged file is found when it is read.
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
    """The artifact was written by a version of the program with other columns or another kind of row."""


@dataclass(frozen=True)
class Output(Generic[R]):
    """What a stage's work returns."""

    rows: Sequence[R] | pa.Table
    """Or a table with the columns of the row type: for millions of rows."""
    counters: Mapping[str, int] = field(default_factory=dict)
    """How many by reason: `{"kept": 120, "too easy": 31}`."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """Local files or folders to attach, by relative name; they are copied."""


@dataclass(frozen=True)
class Artifact(Generic[R]):
    """A complete stage's rows and files, where they lie and what they are. Reading them is explicit."""

    uri: str
    row_type: type[R]
    manifest: Manifest

    @property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint

    @property
    def content_id(self) -> str:
        """As the input of another stage: what it is supposed to hold and what it does hold."""
        return f"{ARTIFACT}{self.fingerprint}@{self.manifest.contents}"

    @property
    def rows(self) -> int:
        return self.manifest.rows

    @property
    def counters(self) -> dict[str, int]:
        return self.manifest.counters

    def read(self) -> list[R]:
        """All rows. Raises `DamagedArtifact` or `StaleArtifact`."""
        return self.row_type.from_table(self.table())

    def table(self) -> pa.Table:
        """The rows as an Arrow table with the row type's schema, their bytes checked against the manifest."""
        parts = [file for file in self.manifest.files if file.name.startswith("part-")]
        table = pa.concat_tables(_read(self._bytes(part)) for part in parts)
        if not table.schema.equals(self.row_type.arrow_schema()):
            raise StaleArtifact(
                f"{self.uri} has other columns than {self.row_type.__name__} has now: play its stage again."
            )
        return table

    def folder(self, name: str) -> Path:
        """An attached folder on the local disk: itself in a `file://` store, else a copy cached by its digest."""
        return self._local(name, self._attached(f"{name}/"))

    def file(self, name: str) -> Path:
        """An attached file on the local disk, as `folder`."""
        return self._local(name, [file for file in self._attached(name) if file.name == name])

    def verify(self) -> None:
        """Look whether every file is whole; raises `DamagedArtifact` naming the first that is not."""
        files = self._files
        for file in self.manifest.files:
            self._check(files, f"{files.root}/{file.path}", file)

    def _attached(self, prefix: str) -> list[StoredFile]:
        found = [file for file in self.manifest.files if file.name.startswith(prefix)]
        if not found:
            names = sorted({file.name.partition("/")[0] for file in self.manifest.files})
            raise UserError(f"{self.uri} has nothing attached as {prefix.rstrip('/')!r}; it has: {', '.join(names)}.")
        return found

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
        """Whether an earlier download is there and whole; one that is not is removed."""
        try:
            for file in wanted:
                self._check(Files(str(cached)), str(cached / file.name), file)
        except DamagedArtifact:
            shutil.rmtree(cached, ignore_errors=True)
            return False
        return True

    def _download(self, files: Files, wanted: list[StoredFile], target: Path) -> None:
        """Fetch into a folder beside the target and rename: a killed download leaves no half copy at `target`."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
            partial = Path(temporary) / "partial"
            for file in wanted:
                self._fetch(files, file, partial / file.name)
            try:
                partial.replace(target)
            except OSError:
                if not target.exists():  # else another process has fetched the same
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
            if (path, stat.version) in _whole or (file.etag is not None and file.etag == stat.etag):
                return
            self._compare(file, stat.size, file.sha256 if stat.size != file.size else files.sha256(path))
        except FileNotFoundError:
            raise self._damaged(file, "is missing") from None
        if stat.settled:
            _whole.add((path, stat.version))

    @property
    def _files(self) -> Files:
        return Files(self.uri)

    def _compare(self, file: StoredFile, size: int, sha256: str) -> None:
        if size != file.size:
            raise self._damaged(file, f"has {size} bytes instead of {file.size}")
        if sha256 != file.sha256:
            raise self._damaged(file, "has other bytes than were written (sha256 differs)")

    def _damaged(self, file: StoredFile, what: str) -> DamagedArtifact:
        return DamagedArtifact(f"{self.uri}/{file.path} {what}: play the round again to replay this stage.")


_whole: set[tuple[str, str]] = set()
"""Address and version of the files that this process has hashed and found whole."""


def _read(data: bytes) -> pa.Table:
    """Without Arrow's threads: one that lets go of a Python object while the interpreter ends aborts the process."""
    return pq.ParquetFile(pa.BufferReader(data), pre_buffer=False).read(use_threads=False)
