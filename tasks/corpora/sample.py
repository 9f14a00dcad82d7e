"""The rows of a corpus: its shards, and the pictures in them.

A picture is known by its key, `<shard>/<sample key>` such as `00012/000120034`. A picture that cannot be used stays a
row with a `reason`; `reason is None` means that it can be decoded, found and shown.
"""

from __future__ import annotations

from tasks.errors import UserError
from tasks.records import Row


class Shard(Row):
    """One unit of a corpus: what is read in one stream, embedded at once and replaced as a whole."""

    name: str
    """The tar's stem (`00012`), or a folder's name: the first part of its pictures' keys."""
    bytes: int
    version: str
    """Changes with the contents: a sha256 where reading is cheap, the object store's ETag and size elsewhere."""


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
    sha256: str | None = None
    """Of the encoded picture."""
    width: int | None = None
    height: int | None = None
    """Pixels, after EXIF orientation."""
    caption: str | None = None
    url: str | None = None
    reason: str | None = None
    """Why it is not served: `broken: ...`, `masked: ...`, `failed: ...`, `duplicate of ...`. None means that it is."""


class StaleShard(UserError):
    """A shard is no longer what was indexed. Its pictures are refused, not guessed at."""
