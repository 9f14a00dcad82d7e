"""Tar shards, read in one stream; pictures are read back at the offsets that the stream found.

`tarfile` is not used for streaming: it stops without an error at a damaged header, a truncated header or a missing end
mark, so a truncated shard looks like a small shard. Nothing is ever extracted, so no member's name becomes a path.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

BLOCK = 512
_MOST_PADDING = 64 << 10
"""Zeros after the end mark that are padding: tar fills a record of 10 KB, tape drives up to 64 KB."""
_MAX_EXTENDED_HEADER = 1 << 20
_EXTENDED_HEADERS = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE)
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
"""First bytes of gzip, bzip2, xz and zstd."""
_WITHOUT_DATA = (
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.DIRTYPE,
    tarfile.FIFOTYPE,
)


class DamagedShard(Exception):
    """The tar cannot be read further. The message says why. Members read before are good."""


@dataclass(frozen=True)
class Member:
    """One entry of a tar, except folders."""

    name: str
    offset: int
    """Position of the first data byte in the tar."""
    size: int
    header: bytes
    """The header block before the data."""
    data: bytes | None
    """None if the file is larger than the limit, or if the entry is a link, a device or a sparse file."""
    regular: bool = True


def members(stream: IO[bytes], max_bytes: int, wanted: Callable[[str], bool] = lambda name: True) -> Iterator[Member]:
    """The entries of a tar in order. Wanted files of at most `max_bytes` are read whole; others are skipped.

    DamagedShard, after all entries before the damage, if the archive is damaged, ends without its end mark, or goes on
    behind it.
    """
    reader = _Reader(stream)
    override: dict[str, str] = {}
    while (block := reader.exactly(BLOCK)) != bytes(BLOCK):
        info = _header(block, reader.position - BLOCK)
        size = int(override.get("size", info.size))
        if info.type in _EXTENDED_HEADERS:
            override |= _extended(info.type, reader.padded(_checked_size(size)))
            continue
        if info.type in _REGULAR:
            offset = reader.position
            name = override.get("path", info.name)
            data = reader.padded(size) if size <= max_bytes and wanted(name) else None
            if data is None:
                reader.skip(size)
            yield Member(name, offset, size, block, data)
        else:
            reader.skip(size if info.type not in _WITHOUT_DATA else 0)
            if not info.isdir():
                yield Member(override.get("path", info.name), reader.position, 0, block, None, regular=False)
        override = {}
    _check_end(reader)


def _check_end(reader: _Reader) -> None:
    """Padding alone may follow the end mark: not a second tar, nor the zeros of a download that never came."""
    end = reader.position
    while piece := reader.stream.read(1 << 20):
        if piece.strip(b"\0"):
            raise DamagedShard(f"goes on after its end mark at byte {end}: are these two tars joined?")
        reader.position += len(piece)
    if reader.position - end > _MOST_PADDING:
        raise DamagedShard(f"only zeros from byte {end} to {reader.position}: an incomplete download")


def _header(block: bytes, position: int) -> tarfile.TarInfo:
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
    except tarfile.HeaderError as error:
        if position == 0 and block.startswith(_COMPRESSED):
            raise DamagedShard("compressed: decompress it first") from None
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
    fields = {}
    while data:
        length, _, _ = data.partition(b" ")
        if not length.isdigit() or int(length) <= len(length):
            raise DamagedShard("damaged: an extended header that cannot be read")
        name, _, value = data[len(length) + 1 : int(length) - 1].decode("utf-8", "replace").partition("=")
        fields[name], data = value, data[int(length) :]
    if not fields.get("size", "0").isdigit():
        raise DamagedShard("damaged: an extended header with a size that is no number")
    return {name: fields[name] for name in ("path", "size") if name in fields}


def _checked_size(size: int) -> int:
    if size > _MAX_EXTENDED_HEADER:
        raise DamagedShard(f"damaged: an extended header of {size} bytes")
    return size


class _Reader:
    """A stream with its position, which treats a short read as damage."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.position = 0

    def exactly(self, count: int) -> bytes:
        """`count` bytes. DamagedShard if the stream ends before."""
        data = self.stream.read(count)
        self.position += len(data)
        if len(data) < count:
            raise DamagedShard(f"truncated at byte {self.position}")
        return data

    def padded(self, size: int) -> bytes:
        """A member's bytes, without the padding to the next block."""
        return self.exactly(size + -size % BLOCK)[:size]

    def skip(self, size: int) -> None:
        """Go past a member of `size` bytes and its padding, without reading it where the stream can seek."""
        left = size + -size % BLOCK
        if self.stream.seekable():
            self.stream.seek(left, os.SEEK_CUR)
            self.position += left
            return
        while left:
            left -= len(self.exactly(min(left, 1 << 20)))
