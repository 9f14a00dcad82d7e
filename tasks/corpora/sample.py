"""The rows of a corpus: its shards, and the pictures in them.

A picture is known by its key, `<shard>/<sample key>` such as `00012/000120034`. A picture that cannot be used stays a
row with a `reason`; `reason is None` means that it can be decoded, found and shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from tasks.records import Row
from tasks.settings.errors import UserError

DUPLICATE = "duplicate of"
"""How the reason of a row begins whose picture is also that of an earlier row: served by key, never found."""


class Listed(Row):
    """A shard as a listing of its folder shows it: what it may be, without reading it."""

    name: str
    bytes: int
    stamp: str
    """Changes when the files do: an object store's ETag, a disk's time of change. A copy has another one."""


class Shard(Row):
    """One unit of a corpus: what is read in one stream, embedded at once and replaced as a whole."""

    name: str
    """The tar's stem (`00012`), or a folder's name: the first part of its pictures' keys."""
    bytes: int
    version: str
    """sha256 of the contents, wherever they lie."""


class Sample(Row):
    """One picture as its shard holds it."""

    key: str
    shard: str
    member: str | None = None
    """Name in the tar, or path below the folder. None where the shard has no such picture (a failed download)."""
    offset: int | None = None
    """Of the picture's first byte in the shard's file."""
    size: int | None = None
    """Bytes of the encoded picture."""
    check: int | None = None
    """XXH3-64, signed, of the tar header and the bytes: compared at every reading, at a thirtieth of sha256's cost."""
    sha256: str | None = None
    """Of the encoded picture."""
    width: int | None = None
    height: int | None = None
    """Pixels, upright."""
    orientation: int | None = None
    """EXIF orientation 2..8 that only the metadata still knows, because the bytes were encoded again without it."""
    caption: str | None = None
    url: str | None = None
    uid: str | None = None
    """The data set's own id of the picture."""
    similarity: float | None = None
    """Cosine of picture and caption, as the data set's makers measured it."""
    punsafe: float | None = None
    pwatermark: float | None = None
    """Probabilities, as the data set's makers measured them."""
    phash: int | None = None
    """64-bit perceptual hash, signed: near for pictures that look alike."""
    group: str | None = None
    """Key of the first picture that this one is nearly the same as; None where it is the first itself."""
    reason: str | None = None
    """Why it is not served, `<kind>: <detail>`, several joined by `; `, or `duplicate of <key>`. None: it is served."""


class Location(NamedTuple):
    """Where a picture's bytes lie, and how to know them."""

    key: str
    shard: str
    member: str
    offset: int
    size: int
    check: int
    orientation: int


class StaleShard(UserError):
    """A shard is no longer what was indexed. Its pictures are refused, not guessed at."""


def kind_of(reason: str | None) -> str:
    """`kept`, `duplicate`, or the first reason's kind: `broken`, `too large`, `unsafe`, `failed`, ..."""
    if reason is None:
        return "kept"
    return "duplicate" if reason.startswith(DUPLICATE) else reason.partition(":")[0]


def reasons(found: Iterable[str | None]) -> dict[str, int]:
    """How many rows by the kind of their reason: `{"kept": 970, "broken": 12, "failed": 18}`."""
    return dict(Counter(map(kind_of, found)))
