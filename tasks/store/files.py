"""The file operations that the store needs. Each is done whole or not at all, and retried on transient errors.

A local file is copied under a temporary name, synced, verified and renamed, and its folder is synced. An object is put
in one request from a local file, never through `fs.open(..., "wb")`, which publishes a partial object when an exception
passes. Every stored file is verified before anything names it.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from tasks.settings.errors import UserError
from tasks.settings.fingerprint import file_sha256
from tasks.store.faults import StoreFault, deadline, http_status, with_retries
from tasks.store.snapshot import StoreListing, current_snapshot, snapshot
from tasks.store.stat import Stat, stat_of

T = TypeVar("T")

MEBI = 1 << 20
PART = 50 * MEBI
"""Objects of this size twice or more are uploaded in parts, which decides their ETag."""
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}")
"""Names of local files that are being written; after a kill they are garbage."""
KEPT = MEBI
"""Largest file whose bytes a snapshot keeps."""
UPLOADS = 3
"""Uploads of a file whose stored bytes differ from it."""
LISTINGS = 20
"""Attempts to list a folder whose files disappear meanwhile; a heartbeat's temporary file lives for a millisecond."""

_creating = threading.Lock()


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
        """All bytes of a file. FileNotFoundError where there is none."""
        listed = self._listed_once(path)
        if listed and path in listed.contents:
            return listed.contents[path]
        data: bytes = self._request("reading", path, lambda: self.fs.cat_file(path, **self._one_request))
        if listed and len(data) <= KEPT:
            listed.contents[path] = data
        return data

    @property
    def _one_request(self) -> dict[str, int]:
        """Read an object with one request. s3fs first asks for its size, to read large ones in parallel parts."""
        return {"max_concurrency": 1} if "s3" in self.fs.protocol else {}

    def get(self, path: str, local: Path) -> None:
        """Copy a file to a local file. FileNotFoundError where there is none."""
        self._request("reading", path, lambda: self.fs.get_file(path, str(local)))

    def sha256(self, path: str) -> str:
        """sha256 of a file's bytes in hexadecimal, read as a stream."""
        return self._request("reading", path, lambda: self._sha256(path))

    def stat(self, path: str) -> Stat:
        """Size, version and time of a file. FileNotFoundError where there is none."""
        if listed := self._listed_once(path):
            return listed.stat(path)
        return self._request("reading the status of", path, lambda: stat_of(self.fs.info(path)))

    def exists(self, path: str) -> bool:
        """Whether the file or folder exists."""
        if listed := self._listed_once(path):
            return listed.exists(path)
        return bool(self._request("reading the status of", path, lambda: self.fs.exists(path)))

    def has_bucket(self) -> bool:
        """Whether the store's bucket exists. `exists` would take a refused request for a missing bucket."""
        bucket = self.root.partition("/")[0]
        try:
            self._request("listing", bucket, lambda: self.fs.ls(bucket, detail=False))
        except FileNotFoundError:
            return False
        return True

    def listing(self, folder: str) -> tuple[list[Stat], list[str]]:
        """The files in a folder, and the names of its folders; both empty where the folder does not exist."""
        if listed := self._listed_once(folder):
            return listed.listing(folder)
        for _ in range(LISTINGS):
            try:
                return self._listed(folder)
            except NotADirectoryError:
                return [], []
            except FileNotFoundError:  # the folder is missing, or a file in it disappeared while it was listed
                if not self.exists(folder):
                    return [], []
        raise StoreFault(f"listing {self._address(folder)}: its files disappeared during each of {LISTINGS} attempts.")

    def walk(self, folder: str) -> Iterator[Stat]:
        """All files below a folder, those of a folder before those of its folders."""
        here, folders = self.listing(folder)
        yield from here
        for name in folders:
            yield from self.walk(f"{folder}/{name}")

    def snapshot(
        self, folders: Sequence[str], names: Mapping[str, Sequence[str]] | None = None
    ) -> AbstractContextManager[None]:
        """Read from one listing of these folders inside the block: for a command that only reads.

        `names`: the known folders in other folders.
        """
        return snapshot(self.fs, folders, names or {})

    def fetch(self, paths: Iterable[str]) -> None:
        """Read files together, in a snapshot; `read` then returns their bytes. A missing file is left out."""
        wanted = [path for path in paths if (listed := self._listed_once(path)) and path not in listed.contents]
        if not wanted:
            return
        listed = self._listed_once(wanted[0])
        found = self._request("reading", wanted[0], lambda: self.fs.cat(wanted, on_error="return", **self._one_request))
        for path, data in found.items():
            if listed and isinstance(data, bytes):
                listed.contents[path] = data

    def listed(self, path: str) -> Stat | None:
        """In a snapshot: the status of a file, if it is there."""
        listed = self._listed_once(path)
        return listed.stat(path) if listed and listed.exists(path) else None

    def _listed_once(self, path: str) -> StoreListing | None:
        return current_snapshot(self.fs, path)

    def _listed(self, folder: str) -> tuple[list[Stat], list[str]]:
        entries = self._request("listing", folder, lambda: self.fs.ls(folder, detail=True))
        inside = [entry for entry in entries if entry["name"].rstrip("/") != folder]
        folders = [PurePosixPath(entry["name"]).name for entry in inside if entry["type"] == "directory"]
        return [stat_of(entry) for entry in inside if entry["type"] == "file"], sorted(folders)

    def put(self, local: Path, path: str) -> tuple[int, str, str | None]:
        """Store a local file and verify the stored bytes. Returns size, sha256, and the ETag of an object."""
        size, sha256 = local.stat().st_size, file_sha256(local)
        for _ in range(UPLOADS):
            self._request("writing", path, lambda: self._put(local, path))
            stored = self.stat(path)
            if stored.size == size and (_is_etag_of(local, size, stored.etag) or self.sha256(path) == sha256):
                return size, sha256, stored.etag
        raise StoreFault(f"writing {self._address(path)}: the stored bytes differed after each of {UPLOADS} uploads.")

    def create(self, path: str, data: bytes) -> bool:
        """Write a small file only where none exists. True: this call created it.

        False: a file exists. An earlier attempt of this same call may have written it before its reply was lost; the
        caller reads the file back to find out.
        """
        try:
            self._request("creating", path, lambda: self._create(path, data))
        except FileExistsError:
            return False
        return True

    def replace(self, path: str, data: bytes) -> None:
        """Write a small file in one step; an existing file is replaced."""
        self._request("writing", path, lambda: self._replace(path, data))

    def remove(self, path: str) -> None:
        """Remove a file, if it exists."""
        try:
            self._request("removing", path, lambda: self.fs.rm_file(path))
        except FileNotFoundError:
            return

    def prune(self, folder: str) -> None:
        """Remove a local folder if it is empty, and its parents that become empty. Object stores have no folders."""
        empty = Path(folder)
        with suppress(OSError):  # removed or filled by another process
            while self.local and empty.is_relative_to(self.root) and not any(empty.iterdir()):
                empty.rmdir()
                empty = empty.parent

    def _request(self, action: str, path: str, call: Callable[[], T]) -> T:
        return with_retries(f"{action} {self._address(path)}", call)

    def _address(self, path: str) -> str:
        return f"{self.fs.unstrip_protocol(path)}{_endpoint(self.fs)}"

    def _no_bucket(self, path: str, error: Exception) -> StoreFault:
        return StoreFault(f"writing {self._address(path)}: {error} (make the bucket, or set ACTIVE_ZERO_STORE)")

    def _sha256(self, path: str) -> str:
        hasher = hashlib.sha256()
        with self.fs.open(path, "rb") as stream:
            while block := stream.read(MEBI):
                hasher.update(block)
        return hasher.hexdigest()

    def _put(self, local: Path, path: str) -> None:
        if self.local:
            with _TemporaryFile(Path(path)) as temporary:
                shutil.copyfile(local, temporary.path)
                temporary.publish()
            return
        try:
            self.fs.put_file(str(local), path)
        except FileNotFoundError as error:
            raise self._no_bucket(path, error) from error

    def _replace(self, path: str, data: bytes) -> None:
        if not self.local:
            self.fs.pipe_file(path, data)
            return
        with _TemporaryFile(Path(path)) as temporary:
            temporary.path.write_bytes(data)
            temporary.publish()

    def _create(self, path: str, data: bytes) -> None:
        """FileExistsError where a file exists, however the store reports it."""
        if self.local:
            with _TemporaryFile(Path(path)) as temporary:
                temporary.path.write_bytes(data)
                temporary.publish_new()
            return
        try:
            with _creating if isinstance(self.fs, MemoryFileSystem) else nullcontext():  # it checks, then writes
                self.fs.pipe_file(path, data, mode="create")
        except FileNotFoundError as error:
            raise self._no_bucket(path, error) from error
        except OSError as error:
            if http_status(error)[0] == 412:
                raise FileExistsError(path) from error
            raise


class _TemporaryFile:
    """A temporary file next to the target for the time of a `with`."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self.path = target.with_name(f".{target.name}.{secrets.token_hex(4)}")

    def __enter__(self) -> _TemporaryFile:
        _make_folders(self._target.parent)
        return self

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)

    def publish(self) -> None:
        """Sync the file, rename it to the target, and sync the folder."""
        _fsync(self.path)
        self.path.replace(self._target)
        _fsync(self._target.parent)

    def publish_new(self) -> None:
        """As `publish`, but FileExistsError where the target exists: only one process can create the hard link."""
        _fsync(self.path)
        os.link(self.path, self._target)
        _fsync(self._target.parent)


def open_filesystem(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system and the path in it. UserError for an address that cannot be a store."""
    try:
        fs, root = fsspec.url_to_fs(url, **(_s3_options() if url.startswith(("s3://", "s3a://")) else {}))
    except (ValueError, ImportError) as error:
        raise UserError(f"{url} cannot be a store ({error}): give a file://, s3:// or memory:// address.") from None
    if hasattr(fs, "retries"):
        fs.retries = 1  # `with_retries` retries, with a deadline and a count
    return fs, root.rstrip("/")


def _s3_options() -> dict[str, Any]:
    """No cached listings, no retries inside the client, and time-outs well below the deadline."""
    silence = min(30.0, deadline() / 2)
    config = {"connect_timeout": min(10.0, silence), "read_timeout": silence, "retries": {"total_max_attempts": 1}}
    return {"use_listings_cache": False, "config_kwargs": config}


def _endpoint(fs: fsspec.AbstractFileSystem) -> str:
    """` at http://...` where the store's server is not the default one of its protocol."""
    url = getattr(fs, "endpoint_url", None)
    if url is None and "s3" in fs.protocol:
        url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return f" at {url}" if url else ""


def _is_etag_of(local: Path, size: int, etag: str | None) -> bool:
    """Whether S3 gives this ETag to these bytes, as a plain or multipart object without KMS encryption."""
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
    """Create missing folders so that they survive a power failure: a new name is safe once its parent is synced."""
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
