"""Reading pictures back from shards: byte ranges at indexed offsets, compared with the indexed checksum.

On a disk each picture is one read of its header block and one of its bytes. A request to an object store costs as much
time as a megabyte, so neighbouring pictures are fetched in one request while the bytes between them are few: the
narrowest gaps are included first, until they reach a set share of the wanted bytes.
"""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tasks.corpora.decode import checksum_of
from tasks.corpora.sample import Location, StaleShard
from tasks.corpora.tar import BLOCK
from tasks.records.picture import Picture
from tasks.store.faults import is_transient, with_retries

NARROW_GAP = 4 << 10
"""Bytes of a gap that is always included: a neighbour's headers, caption and metadata."""
MAX_WASTE = 0.12
"""Bytes of wider gaps that are included, as a share of the wanted bytes."""
MAX_REQUEST = 8 << 20
"""Most bytes of a request, so that many neighbours are still fetched over several connections."""
_THREADS = 8
_REQUESTS = 32


@dataclass(frozen=True)
class ByteRange:
    """Bytes `start` to `stop` of a file, and the positions in `wanted` of the pictures in them."""

    path: str
    start: int
    stop: int
    numbers: tuple[int, ...]

    def extended(self, stop: int, number: int) -> ByteRange:
        """The same range up to `stop`, with one picture more."""
        return ByteRange(self.path, self.start, max(self.stop, stop), (*self.numbers, number))


def from_disk(paths: Mapping[str, Path], wanted: Sequence[Location]) -> list[Picture]:
    """Pictures in the order of `wanted`; several shards are read in parallel. StaleShard if one has changed.

    `paths` are the shards' files by name.
    """
    shards = _by_shard(wanted)
    pictures: dict[int, Picture] = {}
    if len(shards) == 1:
        ((shard, numbers),) = shards.items()
        pictures.update(_read_file(paths[shard], wanted, numbers))
    elif shards:
        with ThreadPoolExecutor(min(_THREADS, len(shards))) as pool:
            calls = ((paths[shard], wanted, numbers) for shard, numbers in shards.items())
            for part in pool.map(lambda call: dict(_read_file(*call)), calls):
                pictures |= part
    return [pictures[number] for number in range(len(wanted))]


def from_store(fs: Any, paths: Mapping[str, str], wanted: Sequence[Location]) -> list[Picture]:
    """`from_disk` for an fsspec file system: byte ranges, all requested at once."""
    ranges = merged_ranges(paths, wanted)
    pictures: dict[int, Picture] = {}
    for fetched, data in zip(ranges, _fetched(fs, ranges), strict=True):
        if isinstance(data, Exception):
            raise _as_stale(data, wanted[fetched.numbers[0]])
        view = memoryview(data)
        for number in fetched.numbers:
            start = wanted[number].offset - fetched.start
            body = view[start : start + wanted[number].size]
            pictures[number] = verified(wanted[number], bytes(view[start - BLOCK : start]), bytes(body))
    return [pictures[number] for number in range(len(wanted))]


def merged_ranges(
    paths: Mapping[str, str], wanted: Sequence[Location], max_waste: float = MAX_WASTE
) -> list[ByteRange]:
    """The ranges to request: each picture with its header block, neighbours joined over the narrowest gaps."""
    order = sorted(range(len(wanted)), key=lambda number: (wanted[number].shard, wanted[number].offset))
    joins = _joined_to_previous([wanted[number] for number in order], max_waste)
    ranges: list[ByteRange] = []
    for number, joined in zip(order, joins, strict=True):
        location = wanted[number]
        start, stop = location.offset - BLOCK, location.offset + location.size
        if joined and stop - ranges[-1].start <= MAX_REQUEST:
            ranges.append(ranges.pop().extended(stop, number))
        else:
            ranges.append(ByteRange(paths[location.shard], start, stop, (number,)))
    return ranges


def verified(location: Location, header: bytes, data: bytes) -> Picture:
    """The picture, if header block and bytes have the indexed checksum. StaleShard if not."""
    if len(data) != location.size or checksum_of(header, data) != location.checksum:
        raise StaleShard(
            f"shard {location.shard} has changed since it was indexed ({location.key}): build the corpus again."
        )
    return Picture(location.key, data, location.orientation)


def missing_shard(location: Location) -> StaleShard:
    """The error for a shard whose file is missing."""
    return StaleShard(f"shard {location.shard} is gone ({location.key}): bring it back, or build the corpus again.")


def _fetched(fs: Any, ranges: Sequence[ByteRange]) -> list[bytes | Exception]:
    """The bytes of each range, or its error. Only ranges with a transient error are requested again."""
    results: dict[int, bytes | Exception] = {}

    def fetch() -> None:
        missing = [number for number in range(len(ranges)) if number not in results]
        transient = None
        for number, data in zip(missing, _request(fs, [ranges[number] for number in missing]), strict=True):
            if isinstance(data, Exception) and is_transient(data):
                transient = transient or data
            else:
                results[number] = data
        if transient:
            raise transient

    if ranges:
        with_retries(f"reading {len(ranges)} ranges of {ranges[0].path} and others", fetch)
    return [results[number] for number in range(len(ranges))]


def _request(fs: Any, ranges: Sequence[ByteRange]) -> list[bytes | Exception]:
    paths = [wanted.path for wanted in ranges]
    starts, stops = [wanted.start for wanted in ranges], [wanted.stop for wanted in ranges]
    answers: list[bytes | Exception] = fs.cat_ranges(paths, starts, stops, batch_size=_REQUESTS, on_error="return")
    return answers


def _read_file(path: Path, wanted: Sequence[Location], numbers: Iterable[int]) -> Iterator[tuple[int, Picture]]:
    ordered = sorted(numbers, key=lambda number: wanted[number].offset)
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise missing_shard(wanted[ordered[0]]) from None
    try:
        for number in ordered:
            location = wanted[number]
            header = os.pread(descriptor, BLOCK, location.offset - BLOCK)
            yield number, verified(location, header, os.pread(descriptor, location.size, location.offset))
    finally:
        os.close(descriptor)


def _by_shard(wanted: Sequence[Location]) -> dict[str, list[int]]:
    """Positions in `wanted` by shard."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for number, location in enumerate(wanted):
        numbers[location.shard].append(number)
    return numbers


def _joined_to_previous(ordered: Sequence[Location], max_waste: float) -> list[bool]:
    """Whether each picture is fetched with the picture before it: true for the narrowest gaps within the allowance."""
    gaps = [
        (max(0, location.offset - BLOCK - before.offset - before.size), number)
        for number, (before, location) in enumerate(pairwise(ordered), 1)
        if before.shard == location.shard
    ]
    allowance = max_waste * sum(location.size for location in ordered)
    joined = [False] * len(ordered)
    for gap, number in sorted(gaps):
        allowance -= gap if gap > NARROW_GAP else 0
        if allowance < 0:
            break
        joined[number] = True
    return joined


def _as_stale(error: Exception, location: Location) -> Exception:
    """StaleShard if the file is missing or shorter than it was; any other error unchanged."""
    if isinstance(error, FileNotFoundError):
        return missing_shard(location)
    if isinstance(error, OSError) and error.errno == errno.EINVAL:  # S3's answer to a range behind the end
        return StaleShard(f"shard {location.shard} is shorter than when it was indexed: build the corpus again.")
    return error
