"""What a file system reports about a stored file."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

SETTLED = 2.0
"""Seconds after which a file's times distinguish it from every later version."""


@dataclass(frozen=True)
class Stat:
    """What the file system reports about a stored file."""

    path: str
    size: int
    version: str
    """Differs for different bytes: an object's ETag, or a local file's inode and times in nanoseconds."""
    etag: str | None
    modified: datetime
    """UTC, of the store's clock."""

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    def is_of(self, data: bytes) -> bool:
        """Whether the ETag shows that an object put in one request holds these bytes."""
        return self.etag == hashlib.md5(data, usedforsecurity=False).hexdigest()

    @property
    def settled(self) -> bool:
        """Whether every later change will change `version`: local file times have steps of some milliseconds."""
        return self.etag is not None or (datetime.now(UTC) - self.modified).total_seconds() > SETTLED


def stat_of(info: dict[str, Any]) -> Stat:
    """From the `info` of fsspec's file systems, which use different keys."""
    etag = info.get("ETag")
    modified = info.get("LastModified") or info.get("mtime") or info.get("created") or 0.0
    when = modified if isinstance(modified, datetime) else datetime.fromtimestamp(float(modified), UTC)
    version = etag or f"{info.get('ino')}-{_times(info)}-{when.timestamp()}"
    return Stat(info["name"], int(info["size"]), f"{version}-{info['size']}", etag and etag.strip('"'), when)


def _times(info: dict[str, Any]) -> str:
    """Times of change and of modification in nanoseconds; fsspec rounds them, and calls the first one `created`."""
    if "ino" not in info:
        return ""
    status = os.stat(info["name"])
    return f"{status.st_ctime_ns}-{status.st_mtime_ns}"
