"""The few things that are asked of a file system, each whole or not at all, each tried again where that can help.

A local file is copied under a temporary name, synced, verified and renamed, and its folder is synced; an object is put
in one request from a local file, never through `fs.open(..., "wb")`, which publishes what there is when an exception
passes. What was put is verified before anything names it.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from tasks.settings.errors import UserError
from tasks.settings.fingerprint import file_sha256
from tasks.store.faults import StoreFault, deadline, http_status, with_retries

T = TypeVar("T")

MEBI = 1 << 20
PART = 50 * MEBI
"""Objects of two parts and more go up in parts, which decides their ETag."""
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}")
"""Names of local files that are being written; what a kill leaves of them is garbage."""
UPLOADS = 3
"""How often a file is put that comes back with other bytes."""
LISTINGS = 20
"""Tries to list a folder from which files go; a heartbeat's temporary file lives for a millisecond."""
SETTLED = 2.0
"""Seconds after which a file's times tell it from any later version of it."""

_creating = threading.Lock()


@dataclass(frozen=True)
class Stat:
    """What is known of a stored file without reading it."""

    path: str
    size: int
    version: str
    """Another text for other bytes: the ETag of an object; inode and times of a local file, times at nanoseconds."""
    etag: str | None
    modified: datetime
    """UTC, by the store's clock."""

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    @property
    def settled(self) -> bool:
        """Whether a later change is sure to show in `version`: local times have steps of some milliseconds."""
        return self.etag is not None or (datetime.now(UTC) - self.modified).total_seconds() > SETTLED


@dataclass(frozen=True)
class Files:
    """The files below an fsspec URL. Paths are absolute in its file system: `<root>/...`."""

    url: str

    @cached_property
    def _opened(self) -> tuple[fsspec.AbstractFileSystem, str]:
        return open_filesystem(self.url)

    @property
    def fs(self) -> fsspec.AbstractFileSystem:
        return self._opened[0]

    @property
    def root(self) -> str:
        return self._opened[1]

    @property
    def local(self) -> bool:
        return isinstance(self.fs, LocalFileSystem)

    def read(self, path: str) -> bytes:
        """All bytes. FileNotFoundError where there is no such file."""
        data: bytes = self._ask("reading", path, lambda: self.fs.cat_file(path))
        return data

    def get(self, path: str, local: Path) -> None:
        """Copy to a local file. FileNotFoundError where there is none."""
        self._ask("reading", path, lambda: self.fs.get_file(path, str(local)))

    def sha256(self, path: str) -> str:
        """sha256 of a file's bytes in hexadecimal, read as a stream."""
        return self._ask("reading", path, lambda: self._sha256(path))

    def stat(self, path: str) -> Stat:
        """FileNotFoundError where there is no such file."""
        return self._ask("looking at", path, lambda: _stat_of(self.fs.info(path)))

    def exists(self, path: str) -> bool:
        """Whether a file or folder is there."""
        return bool(self._ask("looking at", path, lambda: self.fs.exists(path)))

    def listing(self, folder: str) -> tuple[list[Stat], list[str]]:
        """The files in a folder, and the names of the folders in it; both empty where it is not there."""
        for _ in range(LISTINGS):
            try:
                return self._listed(folder)
            except NotADirectoryError:
                return [], []
            except FileNotFoundError:  # the folder, or a file in it that went while it was looked at
                if not self.exists(folder):
                    return [], []
        raise StoreFault(f"listing {self._told(folder)}: files in it went away {LISTINGS} times meanwhile.")

    def _listed(self, folder: str) -> tuple[list[Stat], list[str]]:
        entries = self._ask("listing", folder, lambda: self.fs.ls(folder, detail=True))
        inside = [entry for entry in entries if entry["name"].rstrip("/") != folder]
        folders = [PurePosixPath(entry["name"]).name for entry in inside if entry["type"] == "directory"]
        return [_stat_of(entry) for entry in inside if entry["type"] == "file"], sorted(folders)

    def walk(self, folder: str) -> Iterator[Stat]:
        """All files below a folder, those of a folder before those of the folders in it."""
        files, folders = self.listing(folder)
        yield from sorted(files, key=lambda file: file.path)
        for name in folders:
            yield from self.walk(f"{folder}/{name}")

    def put(self, local: Path, path: str) -> tuple[int, str, str | None]:
        """Store a local file whole, and verify what was stored; its size, sha256 and, of an object, ETag."""
        size, sha256 = local.stat().st_size, file_sha256(local)
        for _ in range(UPLOADS):
            self._ask("writing", path, lambda: self._put(local, path))
            stored = self.stat(path)
            if stored.size == size and (_is_etag_of(local, size, stored.etag) or self.sha256(path) == sha256):
                return size, sha256, stored.etag
        raise StoreFault(f"writing {self._told(path)}: came back with other bytes {UPLOADS} times.")

    def create(self, path: str, data: bytes) -> bool:
        """Write a small file that must not be there yet; whether this call, or a try of it, may have been the one.

        False means that something lies there: perhaps what an earlier try of this very call wrote before its reply was
        lost. Who needs to know reads it back.
        """
        try:
            self._ask("creating", path, lambda: self._create(path, data))
        except FileExistsError:
            return False
        return True

    def replace(self, path: str, data: bytes) -> None:
        """Write a small file in one step, over whatever lies there."""
        self._ask("writing", path, lambda: self._replace(path, data))

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""
        try:
            self._ask("removing", path, lambda: self.fs.rm_file(path))
        except FileNotFoundError:
            return

    def prune(self, folder: str) -> None:
        """Remove a local folder that is empty, and those that this leaves empty; object stores have none."""
        empty = Path(folder)
        with suppress(OSError):  # it is gone, or not empty any more
            while self.local and empty.is_relative_to(self.root) and not any(empty.iterdir()):
                empty.rmdir()
                empty = empty.parent

    def _ask(self, doing: str, path: str, call: Callable[[], T]) -> T:
        return with_retries(f"{doing} {self._told(path)}", call)

    def _told(self, path: str) -> str:
        return f"{self.fs.unstrip_protocol(path)}{_endpoint(self.fs)}"

    def _homeless(self, path: str, error: Exception) -> StoreFault:
        return StoreFault(f"writing {self._told(path)}: {error} (make the bucket, or set ACTIVE_ZERO_STORE)")

    def _sha256(self, path: str) -> str:
        hasher = hashlib.sha256()
        with self.fs.open(path, "rb") as stream:
            while block := stream.read(MEBI):
                hasher.update(block)
        return hasher.hexdigest()

    def _put(self, local: Path, path: str) -> None:
        if self.local:
            with _partial(Path(path)) as partial:
                shutil.copyfile(local, partial.path)
                partial.publish()
            return
        try:
            self.fs.put_file(str(local), path)
        except FileNotFoundError as error:
            raise self._homeless(path, error) from error

    def _replace(self, path: str, data: bytes) -> None:
        if not self.local:
            self.fs.pipe_file(path, data)
            return
        with _partial(Path(path)) as partial:
            partial.path.write_bytes(data)
            partial.publish()

    def _create(self, path: str, data: bytes) -> None:
        """FileExistsError where something lies there, whatever name the store has for that."""
        if self.local:
            with _partial(Path(path)) as partial:
                partial.path.write_bytes(data)
                partial.publish_new()
            return
        try:
            with _creating if isinstance(self.fs, MemoryFileSystem) else nullcontext():  # it looks, then writes
                self.fs.pipe_file(path, data, mode="create")
        except FileNotFoundError as error:
            raise self._homeless(path, error) from error
        except OSError as error:
            if http_status(error)[0] == 412:
                raise FileExistsError(path) from error
            raise


class _partial:
    """A temporary name beside the target for the time of a `with`."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self.path = target.with_name(f".{target.name}.{secrets.token_hex(4)}")

    def __enter__(self) -> _partial:
        _make_folders(self._target.parent)
        return self

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)

    def publish(self) -> None:
        """The file is on the disk before it has its name, and the name before anything else happens."""
        _fsync(self.path)
        self.path.replace(self._target)
        _fsync(self._target.parent)

    def publish_new(self) -> None:
        """As `publish`, but FileExistsError where the name is taken: a link is made for one of all who try."""
        _fsync(self.path)
        os.link(self.path, self._target)
        _fsync(self._target.parent)


def open_filesystem(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system and the path in it. UserError for what cannot be a store."""
    try:
        fs, root = fsspec.url_to_fs(url, **(_patient_s3() if url.startswith(("s3://", "s3a://")) else {}))
    except (ValueError, ImportError) as error:
        raise UserError(f"{url} cannot be a store ({error}): give a file://, s3:// or memory:// address.") from None
    if hasattr(fs, "retries"):
        fs.retries = 1  # ours have a deadline and are counted
    return fs, root.rstrip("/")


def _patient_s3() -> dict[str, Any]:
    """No listing is kept, no try is repeated beneath us, and a silent server is left in good time."""
    silence = min(30.0, deadline() / 2)
    config = {"connect_timeout": min(10.0, silence), "read_timeout": silence, "retries": {"total_max_attempts": 1}}
    return {"use_listings_cache": False, "config_kwargs": config}


def _endpoint(fs: fsspec.AbstractFileSystem) -> str:
    """` at http://...` for a store behind a server that is not its protocol's usual one."""
    named = getattr(fs, "endpoint_url", None)
    if named is None and "s3" in fs.protocol:
        named = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return f" at {named}" if named else ""


def _stat_of(info: dict[str, Any]) -> Stat:
    """From what fsspec's file systems tell in their different words."""
    etag = info.get("ETag")
    modified = info.get("LastModified") or info.get("mtime") or info.get("created") or 0.0
    when = modified if isinstance(modified, datetime) else datetime.fromtimestamp(float(modified), UTC)
    version = etag or f"{info.get('ino')}-{_times(info)}-{when.timestamp()}"
    return Stat(info["name"], int(info["size"]), f"{version}-{info['size']}", etag and etag.strip('"'), when)


def _times(info: dict[str, Any]) -> str:
    """Changed and modified, in nanoseconds: fsspec rounds them, and calls the former `created`."""
    if "ino" not in info:
        return ""
    status = os.stat(info["name"])
    return f"{status.st_ctime_ns}-{status.st_mtime_ns}"


def _is_etag_of(local: Path, size: int, etag: str | None) -> bool:
    """Whether an ETag is the one that S3 gives to these bytes: of plain and of multipart objects without KMS."""
    if etag is None:
        return False
    with local.open("rb") as file:
        if size < 2 * PART:
            return etag == hashlib.file_digest(file, _md5).hexdigest()
        parts = [_md5(block).digest() for block in iter(lambda: file.read(PART), b"")]
    return etag == f"{_md5(b''.join(parts)).hexdigest()}-{len(parts)}"


def _md5(data: bytes = b"") -> Any:
    return hashlib.md5(data, usedforsecurity=False)


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
