"""One listing for a command that only reads: inside `snapshot` no folder is listed twice.

A writer must see the newest listing, since a stale one would let it overwrite another process's work. A reader shows
the store as it was when the command began. So the listing is taken once, in parallel, and the files that the command
will read can be fetched together. Object stores answer each request in milliseconds, and a round has a hundred objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import PurePosixPath

import fsspec

from tasks.store.stat import Stat, stat_of

AT_ONCE = 16
"""Listings at a time."""


class StoreListing:
    """The files below some folders of one file system, as they were listed.

    `names`: the folders in some other folders, whose own files are not known.
    """

    def __init__(
        self,
        fs: fsspec.AbstractFileSystem,
        folders: Sequence[str],
        stats: Iterable[Stat],
        names: Mapping[str, Sequence[str]],
    ) -> None:
        self._fs = fs
        self._folders = tuple(folders)
        self._names = names
        self._stats = {stat.path: stat for stat in stats}
        self._files: dict[str, list[Stat]] = {}
        """By folder: the files in it."""
        self._inside: dict[str, set[str]] = {folder: set() for folder in folders}
        """By folder: the names of its folders."""
        self.contents: dict[str, bytes] = {}
        """Files that were fetched together."""
        for stat in self._stats.values():
            self._add(stat)

    def covers(self, fs: fsspec.AbstractFileSystem, path: str) -> bool:
        """Whether the listing tells what is at a path."""
        inside = any(path == folder or path.startswith(f"{folder}/") for folder in self._folders)
        return fs is self._fs and (inside or path in self._names)

    def stat(self, path: str) -> Stat:
        """The status of a file. FileNotFoundError where there is none."""
        if path not in self._stats:
            raise FileNotFoundError(path)
        return self._stats[path]

    def exists(self, path: str) -> bool:
        """Whether a file or a folder is at a path."""
        return path in self._stats or path in self._inside or path in self._files or path in self._names

    def listing(self, folder: str) -> tuple[list[Stat], list[str]]:
        """The files in a folder, and the names of its folders."""
        return list(self._files.get(folder, ())), sorted(self._names.get(folder, self._inside.get(folder, ())))

    def _add(self, stat: Stat) -> None:
        parent = PurePosixPath(stat.path).parent
        self._files.setdefault(str(parent), []).append(stat)
        while str(parent) not in self._folders and parent != parent.parent:
            self._inside.setdefault(str(parent.parent), set()).add(parent.name)
            parent = parent.parent


_current: ContextVar[StoreListing | None] = ContextVar("snapshot", default=None)


def current_snapshot(fs: fsspec.AbstractFileSystem, path: str) -> StoreListing | None:
    """The snapshot that tells what is at a path; None where the file system must be asked."""
    found = _current.get()
    return found if found is not None and found.covers(fs, path) else None


@contextmanager
def snapshot(
    fs: fsspec.AbstractFileSystem, folders: Sequence[str], names: Mapping[str, Sequence[str]]
) -> Iterator[None]:
    """Read from one listing of these folders, and the `names` in others, inside the block."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        listed = list(pool.map(lambda folder: fs.find(folder, detail=True), folders))
    stats = [stat_of(info) for found in listed for info in found.values() if info["type"] == "file"]
    token = _current.set(StoreListing(fs, folders, stats, names))
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def live() -> Iterator[None]:
    """Ask the file system inside the block, for what is about to be changed."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)
