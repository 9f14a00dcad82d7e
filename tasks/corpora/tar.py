"""Tar shards, streamed once and read back by offset.

`tarfile` is not used for streaming: it ends silently at a damaged header, at a header cut short and at a missing end
mark, so that a truncated shard looks like a small one. Nothing is ever extracted: a member's name is only a name.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

BLOCK = 512
_LONGEST_NAME = 1 << 20


class DamagedShard(Exception):
    """The tar cannot be read further, and why. What was read before stays good."""


@dataclass(frozen=True)
class Member:
    """One regular file in a tar."""

    name: str
    offset: int
    """Of its first byte in the tar."""
    size: int
    data: bytes | None
    """None where it is larger than the limit and was skipped."""


def members(stream: IO[bytes], largest: int) -> Iterator[Member]:
    """The regular files of a tar in order, each read whole unless it is over `largest` bytes.

    Raises DamagedShard where the archive is damaged or ends without its end mark, after yielding all before it.
    """
    reader = _Reader(stream)
    override: dict[str, str] = {}
    while (block := reader.exactly(BLOCK)) != bytes(BLOCK):
        info = _header(block, reader.position - BLOCK)
        size = int(override.get("size", info.size))
        if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):
            override |= _extended(info.type, reader.padded(_sane(size)))
            continue
        keep = info.isreg() and size <= largest
        offset, data = reader.position, reader.padded(size) if keep else None
        if not keep:
            reader.skip(size)
        if info.isreg():
            yield Member(override.get("path", info.name), offset, size, data)
        override = {}


def is_header(block: bytes, size: int) -> bool:
    """Whether the block before a picture's bytes is still a valid header of a regular file of that size.

    The name is not compared: an extended header cuts long and non-ASCII names short here. The sha256 has the last word.
    """
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
    except tarfile.HeaderError:
        return False
    return info.isreg() and info.size == size


def _header(block: bytes, position: int) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "replace")
    except tarfile.HeaderError as error:
        raise DamagedShard(f"damaged at byte {position}: {error}") from None


def _extended(kind: bytes, data: bytes) -> dict[str, str]:
    """`path` and `size` of the next member from a GNU long name or a PAX header."""
    if kind == tarfile.GNUTYPE_LONGNAME:
        return {"path": data.rstrip(b"\0").decode("utf-8", "replace")}
    found = {}
    while data:
        length, _, _ = data.partition(b" ")
        if not length.isdigit() or int(length) <= len(length):
            raise DamagedShard("damaged: an extended header that cannot be read")
        name, _, value = data[len(length) + 1 : int(length) - 1].decode("utf-8", "replace").partition("=")
        found[name], data = value, data[int(length) :]
    if not found.get("size", "0").isdigit():
        raise DamagedShard("damaged: an extended header with a size that is no number")
    return {name: found[name] for name in ("path", "size") if name in found}


def _sane(size: int) -> int:
    if size > _LONGEST_NAME:
        raise DamagedShard(f"damaged: an extended header of {size} bytes")
    return size


class _Reader:
    """A stream that knows where it is and does not accept less than was asked for."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.position = 0

    def exactly(self, count: int) -> bytes:
        data = self.stream.read(count)
        self.position += len(data)
        if len(data) < count:
            raise DamagedShard(f"truncated at byte {self.position}")
        return data

    def padded(self, size: int) -> bytes:
        """A member's bytes, without the padding to the next block."""
        return self.exactly(size + -size % BLOCK)[:size]

    def skip(self, size: int) -> None:
        left = size + -size % BLOCK
        while left:
            left -= len(self.exactly(min(left, 1 << 20)))
