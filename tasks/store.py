"""Where stages keep what they made: rows and folders, committed whole, found again by what went into them.

    <store>/runs/<run>/round-003/6-filter/manifest.json                    written last: its existence means complete
    <store>/runs/<run>/round-003/6-filter/part-5be1c0d7-00000.parquet      the rows
    <store>/runs/<run>/round-003/6-filter/5be1c0d7/report.md               what else the stage made, by its own names
    <store>/corpora/<corpus>/index/...                                     the same, outside of any run

Every file carries its attempt's id (`5be1c0d7`) and is never written twice, so playing a stage again cannot touch the
artifact that stands: the old manifest names the old files until the new manifest replaces it in one step. The id is
part of the file's name, rather than a folder around the rows, so that `6-filter/part-*.parquet` is where a person
looks for them; attached files share a folder, so that a report finds its picture. Files that no manifest names are
garbage of a killed or superseded attempt, and are left alone here: somebody may still be reading them.

The manifest is the only memory of completion: there are no marker files and no database.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any, Generic, Self, TypeVar

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError, computed_field

from tasks.errors import UserError
from tasks.identity import digest, file_sha256
from tasks.records import Row, to_table

R = TypeVar("R", bound=Row)

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
SOFTWARE = (
    "active-zero torch transformers trl peft vllm open-clip-torch faiss-cpu faiss-gpu prefect pyarrow numpy pillow"
).split()


class DamagedArtifact(UserError):
    """A file is missing or is not what its manifest says."""


class StaleArtifact(UserError):
    """The artifact was written by a version of the program with other columns or another kind of row."""


class StoredFile(BaseModel):
    """One file of an artifact."""

    model_config = ConfigDict(frozen=True)

    name: str
    """What it is to the artifact: `part-00000.parquet`, `adapter/adapter_config.json`."""
    path: str
    """Where it lies, relative to the manifest. Holds the attempt's id."""
    size: int
    sha256: str


class Manifest(BaseModel):
    """What a complete stage made, and of what. Fields that a later version added are ignored, not refused."""

    model_config = ConfigDict(frozen=True)

    stage: str
    version: int
    fingerprint: str
    """sha256 of `identity`."""
    identity: dict[str, JsonValue]
    """All that went in: settings, inputs, stage version, columns. Nothing of where or how fast it ran."""
    row_type: str
    rows: int
    counters: dict[str, int]
    files: tuple[StoredFile, ...]
    attempt: str
    software: dict[str, str]
    seconds: float
    created: datetime
    """UTC."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def inputs(self) -> dict[str, str]:
        """Fingerprints of the artifacts among the arguments, by argument."""
        texts = {name: value for name, value in self.identity.items() if isinstance(value, str)}
        return {name: _fingerprint_in(text) for name, text in texts.items() if text.startswith("artifact:")}

    @property
    def contents(self) -> str:
        """Digest of the files' names and sha256: equal when two artifacts hold the same, wherever they lie."""
        return digest({file.name: file.sha256 for file in self.files})


@dataclass(frozen=True)
class Output(Generic[R]):
    """What a stage's work returns."""

    rows: Sequence[R]
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
    def identity(self) -> str:
        """As the input of another stage: what it is supposed to hold and what it does hold."""
        return f"artifact:{self.fingerprint}@{self.manifest.contents}"

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
        table = pa.concat_tables(pq.read_table(io.BytesIO(self._bytes(part))) for part in parts)
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
        """Read every file and compare size and sha256; raises `DamagedArtifact` naming the first that differs."""
        for file in self.manifest.files:
            self._check(file)

    def _attached(self, prefix: str) -> list[StoredFile]:
        found = [file for file in self.manifest.files if file.name.startswith(prefix)]
        if not found:
            names = sorted({file.name.partition("/")[0] for file in self.manifest.files})
            raise UserError(f"{self.uri} has nothing attached as {prefix.rstrip('/')!r}; it has: {', '.join(names)}.")
        return found

    def _local(self, name: str, files: list[StoredFile]) -> Path:
        fs, root = _filesystem(self.uri)
        if isinstance(fs, LocalFileSystem):
            for file in files:
                self._check(file)
            return Path(root) / self.manifest.attempt / name
        cached = _cache_folder() / digest({file.name: file.sha256 for file in files})
        if not cached.exists():
            self._download(files, cached)
        return cached / name

    def _download(self, files: list[StoredFile], target: Path) -> None:
        """Fetch into a folder beside the target and rename: a killed download leaves no half copy at `target`."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
            partial = Path(temporary) / "partial"
            for file in files:
                local = partial / file.name
                local.parent.mkdir(parents=True, exist_ok=True)
                local.write_bytes(self._bytes(file))
            if not target.exists():
                partial.replace(target)

    def _bytes(self, file: StoredFile) -> bytes:
        fs, root = _filesystem(self.uri)
        try:
            data: bytes = fs.cat_file(f"{root}/{file.path}")
        except FileNotFoundError:
            raise self._damaged(file, "is missing") from None
        self._compare(file, len(data), hashlib.sha256(data).hexdigest())
        return data

    def _check(self, file: StoredFile) -> None:
        fs, root = _filesystem(self.uri)
        try:
            with fs.open(f"{root}/{file.path}", "rb") as stream:
                sha256 = _stream_sha256(stream)
            self._compare(file, fs.size(f"{root}/{file.path}"), sha256)
        except FileNotFoundError:
            raise self._damaged(file, "is missing") from None

    def _compare(self, file: StoredFile, size: int, sha256: str) -> None:
        if size != file.size:
            raise self._damaged(file, f"has {size} bytes instead of {file.size}")
        if sha256 != file.sha256:
            raise self._damaged(file, "has other bytes than were written (sha256 differs)")

    def _damaged(self, file: StoredFile, what: str) -> DamagedArtifact:
        return DamagedArtifact(f"{self.uri}/{file.path} {what}: play the round again to replay this stage.")


class Store:
    """A folder of artifacts behind any fsspec URL: `file://`, `s3://`, `memory://`. A bare path is a local folder."""

    def __init__(self, url: str) -> None:
        fs, root = _filesystem(url)
        self.url: str = fs.unstrip_protocol(root)

    @property
    def fs(self) -> fsspec.AbstractFileSystem:
        return _filesystem(self.url)[0]

    @property
    def root(self) -> str:
        return _filesystem(self.url)[1]

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
        return [(name, place.manifest(name)) for name in sorted(self._folders(place.prefix), key=_stage_order)]

    def _folders(self, prefix: str) -> list[str]:
        self.fs.invalidate_cache()
        try:
            entries = self.fs.ls(f"{self.root}/{prefix}", detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(PurePosixPath(entry["name"]).name for entry in entries if entry["type"] == "directory")


@dataclass(frozen=True)
class Place:
    """A folder of the store whose stages belong together: a round of a run, a corpus."""

    store: Store
    prefix: str
    """Relative to the store; each segment must start with a letter or digit, so no name can lead out of the store."""

    def __post_init__(self) -> None:
        for segment in self.prefix.split("/"):
            _checked_name(segment)

    @classmethod
    def round(cls, store: Store, run: str, number: int) -> Self:
        """Round `number` of a run."""
        return cls(store, f"runs/{_checked_name(run)}/round-{number:03d}")

    def uri(self, stage: str) -> str:
        """The folder of one stage, as an fsspec URL."""
        return f"{self.store.url}/{self.prefix}/{_checked_name(stage)}"

    def manifest(self, stage: str) -> Manifest | None:
        """The manifest that stands, unverified; None where the stage is not complete (a torn manifest is logged)."""
        try:
            text = self.store.fs.cat_file(f"{self._address(stage)}/{MANIFEST}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return Manifest.model_validate_json(text)
        except ValidationError:
            log.warning("%s/%s cannot be read: the stage counts as not complete", self.uri(stage), MANIFEST)
            return None

    def find(self, stage: str, row_type: type[R]) -> Artifact[R] | None:
        """The complete artifact with every byte verified, or None. Raises `DamagedArtifact` or `StaleArtifact`."""
        manifest = self.manifest(stage)
        if manifest is None:
            return None
        if manifest.row_type != row_type.__name__:
            raise StaleArtifact(f"{self.uri(stage)} holds rows of {manifest.row_type}, not {row_type.__name__}.")
        artifact = Artifact(self.uri(stage), row_type, manifest)
        artifact.verify()
        return artifact

    def commit(
        self, stage: str, row_type: type[R], output: Output[R], identity: dict[str, JsonValue], seconds: float
    ) -> Artifact[R]:
        """Store the output under a new attempt's id, its manifest last. Until then the older artifact stands."""
        attempt = secrets.token_hex(4)
        with tempfile.TemporaryDirectory() as temporary:
            files = list(self._put_files(stage, attempt, Path(temporary), row_type, output))
            manifest = _manifest(stage, attempt, row_type, output, identity, files, seconds)
            written = Path(temporary) / MANIFEST
            written.write_text(manifest.model_dump_json(indent=2))
            _put(self.store.fs, written, f"{self._address(stage)}/{MANIFEST}")
        return Artifact(self.uri(stage), row_type, manifest)

    def _put_files(
        self, stage: str, attempt: str, temporary: Path, row_type: type[R], output: Output[R]
    ) -> Iterator[StoredFile]:
        part = temporary / "part-00000.parquet"
        pq.write_table(to_table(row_type, list(output.rows)), part)
        yield self._put_file(stage, part.name, f"part-{attempt}-00000.parquet", part)
        for name, local in _expanded(output.files):
            yield self._put_file(stage, name, f"{attempt}/{name}", local)

    def _put_file(self, stage: str, name: str, path: str, local: Path) -> StoredFile:
        file = StoredFile(name=name, path=path, size=local.stat().st_size, sha256=file_sha256(local))
        _put(self.store.fs, local, f"{self._address(stage)}/{path}")
        return file

    def _address(self, stage: str) -> str:
        return f"{self.store.root}/{self.prefix}/{_checked_name(stage)}"


def _manifest(
    stage: str,
    attempt: str,
    row_type: type[Row],
    output: Output[Any],
    identity: dict[str, JsonValue],
    files: Sequence[StoredFile],
    seconds: float,
) -> Manifest:
    version = identity.get("version")
    return Manifest(
        stage=stage,
        version=version if isinstance(version, int) else 1,
        fingerprint=digest(identity),
        identity=identity,
        row_type=row_type.__name__,
        rows=len(output.rows),
        counters=dict(output.counters),
        files=tuple(files),
        attempt=attempt,
        software=_software(),
        seconds=round(seconds, 3),
        created=datetime.now(UTC),
    )


@cache
def _software() -> dict[str, str]:
    """Installed versions of what decides the outcome."""
    installed = {name: _version(name) for name in SOFTWARE}
    return {name: version for name, version in installed.items() if version is not None}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _fingerprint_in(identity: str) -> str:
    return identity.removeprefix("artifact:").partition("@")[0]


def _stage_order(name: str) -> tuple[int, str]:
    number = name.partition("-")[0]
    return (int(number) if number.isdigit() else 10**6, name)


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
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


def _filesystem(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    try:
        fs, root = fsspec.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise UserError(f"{url} cannot be a store ({error}): give a file://, s3:// or memory:// address.") from None
    return fs, root.rstrip("/")


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "active-zero"


def _stream_sha256(stream: Any) -> str:
    hasher = hashlib.sha256()
    while block := stream.read(1 << 20):
        hasher.update(block)
    return hasher.hexdigest()


def _put(fs: fsspec.AbstractFileSystem, local: Path, address: str) -> None:
    """A whole file or none. Object stores publish a put at once; on a disk it takes a rename and three fsyncs."""
    if not isinstance(fs, LocalFileSystem):
        fs.put_file(str(local), address)
        return
    target = Path(address)
    _make_folders(target.parent)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    shutil.copyfile(local, partial)
    _fsync(partial)
    partial.replace(target)
    _fsync(target.parent)


def _make_folders(folder: Path) -> None:
    """Make missing folders so that they survive a loss of power: a new name is safe once its parent is synced."""
    if not folder.exists():
        _make_folders(folder.parent)
        folder.mkdir(exist_ok=True)
        _fsync(folder.parent)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
