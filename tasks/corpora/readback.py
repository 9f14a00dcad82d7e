"""Pictures' bytes, read at known places of large files and compared with what was read there when they were indexed.

From a disk each picture is a read of its header block and one of its bytes. A request to an object store costs as much
as a megabyte, so neighbouring pictures are fetched together as far as little lies between them: the narrowest gaps are
read along until they make up a set share of what is wanted.
"""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from tasks.corpora.decode import check_of
from tasks.corpora.sample import Location, StaleShard
from tasks.corpora.tar import BLOCK
from tasks.records.prompt import Picture
from tasks.store.faults import passing, persistently

NARROW = 4 << 10
"""Gaps of at most so many bytes are always read along: a neighbour's headers, caption and metadata."""
WASTE = 0.12
"""Bytes of wider gaps that are read along, as a share of those wanted."""
LONGEST = 8 << 20
"""Bytes of a request at most, so that many neighbours still come over several connections."""
_THREADS = 8
_REQUESTS = 32


class ByteRange(NamedTuple):
    """Bytes `start` to `stop` of a file, and the pictures in them by their number among those asked for."""

    path: str
    start: int
    stop: int
    numbers: tuple[int, ...]


def from_disk(paths: Mapping[str, Path], wanted: Sequence[Location]) -> list[Picture]:
    """Pictures in the order asked for, shards read side by side. `paths` are the shards' files. Raises StaleShard."""
    shards = _by_shard(wanted)
    pictures: dict[int, Picture] = {}
    if len(shards) == 1:
        ((shard, numbers),) = shards.items()
        pictures.update(_read_file(paths[shard], wanted, numbers))
    elif shards:
        with ThreadPoolExecutor(min(_THREADS, len(shards))) as pool:
            for part in pool.map(lambda one: dict(_read_file(paths[one[0]], wanted, one[1])), shards.items()):
                pictures |= part
    return [pictures[number] for number in range(len(wanted))]


def from_store(fs: Any, paths: Mapping[str, str], wanted: Sequence[Location]) -> list[Picture]:
    """The same by byte ranges of an fsspec file system, all requested at once."""
    spans = merged(paths, wanted)
    pictures: dict[int, Picture] = {}
    for span, data in zip(spans, _fetched(fs, spans), strict=True):
        if isinstance(data, Exception):
            raise _as_stale(data, wanted[span.numbers[0]])
        view = memoryview(data)
        for number in span.numbers:
            start = wanted[number].offset - span.start
            body = view[start : start + wanted[number].size]
            pictures[number] = verified(wanted[number], bytes(view[start - BLOCK : start]), bytes(body))
    return [pictures[number] for number in range(len(wanted))]


def merged(paths: Mapping[str, str], wanted: Sequence[Location], waste: float = WASTE) -> list[ByteRange]:
    """What to request: each picture with its header, neighbours joined over the narrowest gaps."""
    order = sorted(range(len(wanted)), key=lambda number: (wanted[number].shard, wanted[number].offset))
    bridged = _bridged([wanted[number] for number in order], waste)
    spans: list[ByteRange] = []
    for number, joined in zip(order, bridged, strict=True):
        one = wanted[number]
        start, stop = one.offset - BLOCK, one.offset + one.size
        if joined and stop - spans[-1].start <= LONGEST:
            last = spans.pop()
            spans.append(ByteRange(last.path, last.start, max(last.stop, stop), (*last.numbers, number)))
        else:
            spans.append(ByteRange(paths[one.shard], start, stop, (number,)))
    return spans


def verified(location: Location, header: bytes, data: bytes) -> Picture:
    """The picture, if header and bytes are those that were indexed. Raises StaleShard."""
    if len(data) != location.size or check_of(header, data) != location.check:
        raise StaleShard(
            f"shard {location.shard} has changed since it was indexed ({location.key}): build the corpus again."
        )
    return Picture(location.key, data, location.orientation)


def gone(location: Location) -> StaleShard:
    """What to say of a file that is not there any more."""
    return StaleShard(f"shard {location.shard} is gone ({location.key}): bring it back, or build the corpus again.")


def _fetched(fs: Any, spans: Sequence[ByteRange]) -> list[bytes | Exception]:
    """The spans' bytes; those that fail for a moment are requested again, and no others."""
    found: dict[int, bytes | Exception] = {}

    def fetch() -> None:
        left = [number for number in range(len(spans)) if number not in found]
        paths, starts, stops = ([spans[number][field] for number in left] for field in range(3))
        got = dict(zip(left, fs.cat_ranges(paths, starts, stops, batch_size=_REQUESTS, on_error="return"), strict=True))
        again = {number: data for number, data in got.items() if isinstance(data, Exception) and passing(data)}
        found.update((number, data) for number, data in got.items() if number not in again)
        if again:
            raise next(iter(again.values()))

    if spans:
        persistently(f"reading {len(spans)} ranges of {spans[0].path} and others", fetch)
    return [found[number] for number in range(len(spans))]


def _read_file(path: Path, wanted: Sequence[Location], numbers: Iterable[int]) -> Iterator[tuple[int, Picture]]:
    ordered = sorted(numbers, key=lambda number: wanted[number].offset)
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise gone(wanted[ordered[0]]) from None
    try:
        for number in ordered:
            one = wanted[number]
            header = os.pread(descriptor, BLOCK, one.offset - BLOCK)
            yield number, verified(one, header, os.pread(descriptor, one.size, one.offset))
    finally:
        os.close(descriptor)


def _by_shard(wanted: Sequence[Location]) -> dict[str, list[int]]:
    numbers: dict[str, list[int]] = defaultdict(list)
    for number, one in enumerate(wanted):
        numbers[one.shard].append(number)
    return numbers


def _bridged(ordered: Sequence[Location], waste: float) -> list[bool]:
    """Whether each picture is fetched together with the one before it: the narrowest gaps within the allowance."""
    gaps = [
        (max(0, one.offset - BLOCK - before.offset - before.size), number)
        for number, (before, one) in enumerate(pairwise(ordered), 1)
        if before.shard == one.shard
    ]
    left, joined = waste * sum(one.size for one in ordered), [False] * len(ordered)
    for gap, number in sorted(gaps):
        left -= gap if gap > NARROW else 0
        if left < 0:
            break
        joined[number] = True
    return joined


def _as_stale(error: Exception, location: Location) -> Exception:
    """A file that is missing or shorter than it was has changed; anything else went wrong on the way."""
    if isinstance(error, FileNotFoundError):
        return gone(location)
    if isinstance(error, OSError) and error.errno == errno.EINVAL:  # S3's answer to a range behind the end
        return StaleShard(f"shard {location.shard} is shorter than when it was indexed: build the corpus again.")
    return error
