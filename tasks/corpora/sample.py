"""The rows of a corpus: its shards, and the pictures in them.

A picture has a key, `<shard>/<sample key>` such as `00012/000120034`. A picture that cannot be used keeps its row, with
a `reason`; `reason is None` means that the picture is decoded, indexed and served.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from tasks.records import Row
from tasks.settings.errors import UserError

DUPLICATE = "duplicate of"
"""First words of the reason of a row with the same bytes as an earlier row: served by key, never found by search."""


class ListedShard(Row):
    """A shard as a listing of its folder shows it, without reading it."""

    name: str
    bytes: int
    stamp: str
    """Changes whenever the files change: an object store's ETag, or a disk's modification time. A copy of the files has
    another stamp."""


class Shard(Row):
    """One unit of a corpus: read in one stream, embedded in one stage, replaced as a whole."""

    name: str
    """The tar's stem (`00012`) or a folder's name: the first part of its pictures' keys."""
    bytes: int
    version: str
    """sha256 of the contents, wherever they lie."""


class Sample(Row):
    """One picture of a shard."""

    key: str
    shard: str
    member: str | None = None
    """Name in the tar, or path below the folder. None if the shard has no such picture (a failed download)."""
    offset: int | None = None
    """Position of the picture's first byte in the shard's file."""
    size: int | None = None
    """Bytes of the encoded picture."""
    checksum: int | None = None
    """XXH3-64, signed, of the tar header and the bytes. Compared at every read; costs a thirtieth of sha256."""
    sha256: str | None = None
    """Of the encoded picture."""
    width: int | None = None
    height: int | None = None
    """Pixels of the upright picture."""
    orientation: int | None = None
    """EXIF orientation 2..8 that only the metadata has, because the bytes were re-encoded without it."""
    caption: str | None = None
    url: str | None = None
    uid: str | None = None
    """The data set's own id of the picture."""
    similarity: float | None = None
    """Cosine of picture and caption, from the data set's metadata."""
    punsafe: float | None = None
    pwatermark: float | None = None
    """Probabilities of unsafe content and of a watermark, from the data set's metadata."""
    unrated: bool = False
    """The shard's metadata rates safety, but has no row for this picture."""
    phash: int | None = None
    """64-bit perceptual hash, signed. Similar pictures have hashes that differ in few bits."""
    group: str | None = None
    """Key of the first picture of this picture's near-duplicate group. None for the first picture itself."""
    reason: str | None = None
    """Why the picture is not served: `<kind>: <detail>`, several joined by `; `, or `duplicate of <key>`. None if it is
    served."""


class Location(NamedTuple):
    """Where the bytes of a picture lie, and the checksum that they must have."""

    key: str
    shard: str
    member: str
    offset: int
    size: int
    checksum: int
    orientation: int


class StaleShard(UserError):
    """A shard has changed since it was indexed, so its pictures are refused."""


def reason_kind(reason: str | None) -> str:
    """`kept`, `duplicate`, or the kind of the first reason: `broken`, `too large`, `unsafe`, `failed`, ..."""
    if reason is None:
        return "kept"
    return "duplicate" if reason.startswith(DUPLICATE) else reason.partition(":")[0]


def count_reasons(reasons: Iterable[str | None]) -> dict[str, int]:
    """Number of rows by the kind of their reason: `{"kept": 970, "broken": 12, "failed": 18}`."""
    return dict(Counter(map(reason_kind, reasons)))
