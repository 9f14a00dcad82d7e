"""Pictures' bytes on disk instead of in memory: a stage holds tens of thousands of pictures at once."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from tasks.corpora.sample import Location
from tasks.records.picture import Picture

READ_BYTES = 64 << 20
"""Bytes of pictures that are in memory at once while they are read."""


class Spool:
    """A nameless temporary file of pictures' bytes. It ends with the last picture that lies in it."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the pictures in it
        self._size = 0

    def add(self, picture: Picture) -> Picture:
        """The picture with its bytes in this file."""
        data = picture.data
        self._file.write(data)
        self._file.flush()
        start, self._size = self._size, self._size + len(data)
        return Picture(picture.key, partial(self._read, start, len(data)), picture.orientation)

    def _read(self, start: int, size: int) -> bytes:
        return os.pread(self._file.fileno(), size, start)


def read_to_disk(read: Callable[[Sequence[Location]], list[Picture]], wanted: Sequence[Location]) -> list[Picture]:
    """Pictures in the order of `wanted`, read in the order of the shards and kept on disk, each of them once."""
    distinct = {location.key: location for location in wanted}.values()
    ordered = sorted(distinct, key=lambda location: (location.shard, location.offset))
    spool, pictures = Spool(), dict[str, Picture]()
    for part in _parts(ordered):
        pictures |= {picture.key: spool.add(picture) for picture in read(part)}
    return [pictures[location.key] for location in wanted]


def _parts(locations: Sequence[Location]) -> Iterator[Sequence[Location]]:
    """The locations in slices of at most `READ_BYTES`; a larger picture is a slice of its own."""
    start, size = 0, 0
    for end, location in enumerate(locations):
        if size and size + location.size > READ_BYTES:
            yield locations[start:end]
            start, size = end, 0
        size += location.size
    if locations:
        yield locations[start:]
