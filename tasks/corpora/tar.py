"""Tar shards, streamed once; pictures are read back at the offsets that the stream found.

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
_NAMES_NEXT = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE)
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_WITHOUT_DATA = (
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.DIRTYPE,
    tarfile.FIFOTYPE,
)


class DamagedShard(Exception):
    """The tar cannot be read further, and why. What was read before stays good."""


@dataclass(frozen=True)
class Member:
    """One entry of a tar that is no folder."""

    name: str
    offset: int
    """Of its first byte in the tar."""
    size: int
    header: bytes
    """The block before it."""
    data: bytes | None
    """None where it is larger than the limit and was skipped, or is a link or a device."""
    regular: bool = True


def members(stream: IO[bytes], largest: int) -> Iterator[Member]:
    """The entries of a tar in order, files read whole unless they are over `largest` bytes.

    Raises DamagedShard where the archive is damaged or ends without its end mark, after yielding all before it.
    """
    reader = _Reader(stream)
    override: dict[str, str] = {}
    while (block := reader.exactly(BLOCK)) != bytes(BLOCK):
        info = _header(block, reader.position - BLOCK)
        size = int(override.get("size", info.size))
        if info.type in _NAMES_NEXT:
            override |= _extended(info.type, reader.padded(_sane(size)))
            continue
        if info.type in _REGULAR:
            offset = reader.position
            data = reader.padded(size) if size <= largest else None
            if data is None:
                reader.skip(size)
            yield Member(override.get("path", info.name), offset, size, block, data)
        else:
            reader.skip(size if info.type not in _WITHOUT_DATA else 0)
            if info.type in _WITHOUT_DATA and not info.isdir():
                yield Member(override.get("path", info.name), reader.position, 0, block, None, regular=False)
        override = {}


def _header(block: bytes, position: int) -> tarfile.TarInfo:
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
    except tarfile.HeaderError as error:
        raise DamagedShard(f"damaged at byte {position}: {error}") from None
    if info.size < 0:
        raise DamagedShard(f"damaged at byte {position}: a member of {info.size} bytes")
    return info


def _extended(kind: bytes, data: bytes) -> dict[str, str]:
    """`path` and `size` of the next member from a GNU long name or a PAX header."""
    if kind == tarfile.GNUTYPE_LONGLINK:
        return {}
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
        """Read past a member, a piece at a time."""
        left = size + -size % BLOCK
        while left:
            left -= len(self.exactly(min(left, 1 << 20)))
