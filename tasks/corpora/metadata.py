"""Metadata of pictures, under whatever column names a data set uses.

img2dataset, LAION, DataComp and their mirrors call the same column `TEXT`, `caption` or `alt`. Names are compared
without case. A Parquet file also lists failed downloads, and in another order than the tar, so its rows are found by
key.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tasks.settings.errors import first_line

ALIASES: Mapping[str, tuple[str, ...]] = {
    "key": ("key", "__key__"),
    "caption": ("caption", "text", "alt", "alt_text"),
    "url": ("url", "image_url", "img_url"),
    "uid": ("uid", "sample_id", "id", "hash"),
    "similarity": ("similarity", "clip_l14_similarity_score", "clip_b32_similarity_score"),
    "punsafe": ("punsafe", "nsfw"),
    "pwatermark": ("pwatermark",),
    "exif": ("exif",),
    "status": ("status",),
    "error": ("error_message",),
}
"""Names used here, and the names that data sets use, in lower case and in order of preference."""

Facts = Mapping[str, Any]
"""Metadata of one picture by the names of `ALIASES`, without missing values."""

_NSFW = {"UNLIKELY": 0.0, "UNSURE": 0.5, "NSFW": 1.0}
"""Probability of unsafe content for LAION-400M's words; later data sets have the probability itself."""

_ORIENTATIONS = {
    "mirrored horizontal": 2,
    "rotated 180": 3,
    "mirrored vertical": 4,
    "mirrored horizontal then rotated 90 ccw": 5,
    "rotated 90 cw": 6,
    "mirrored horizontal then rotated 90 cw": 7,
    "rotated 90 ccw": 8,
}
"""EXIF orientations by the words of exifread, which img2dataset uses."""


class DamagedMetadata(Exception):
    """The metadata of a shard cannot be used. The message says why."""


def read_parquet(path: Path) -> dict[str, Facts]:
    """Facts in a shard's Parquet file by sample key; rows without a key are skipped. DamagedMetadata if unusable."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = {name.lower(): name for name in pq.read_schema(path).names}
        columns = [names[alias] for aliases in ALIASES.values() for alias in aliases if alias in names]
        rows = pq.read_table(path, columns=columns).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DamagedMetadata(first_line(error)[:120]) from None
    if not names.keys() & set(ALIASES["key"]):
        raise DamagedMetadata("no column `key` to join on")
    return {str(facts["key"]): facts for facts in map(facts_of, rows) if "key" in facts}


def facts_of(values: Mapping[str, Any]) -> Facts:
    """The facts in a table row or JSON object, whatever names it uses."""
    lowered = {str(name).lower(): value for name, value in values.items()}
    facts = {name: _first(lowered, aliases) for name, aliases in ALIASES.items()}
    return {name: value for name, value in facts.items() if value is not None}


def read_json(data: bytes) -> Facts:
    """The facts of a `.json` member; empty if it is no JSON object."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return facts_of(value) if isinstance(value, dict) else {}


def sample_fields(facts: Facts) -> dict[str, Any]:
    """The fields of a `Sample` that come from metadata."""
    readers: Mapping[str, Callable[[Any], Any]] = {
        "caption": _text,
        "url": _text,
        "uid": _text,
        "similarity": _number,
        "punsafe": _unsafe,
        "pwatermark": _number,
        "exif": _orientation,
    }
    fields = {name: read(facts[name]) for name, read in readers.items() if name in facts}
    return {"orientation" if name == "exif" else name: value for name, value in fields.items()}


def download_failure(facts: Facts) -> str | None:
    """Why a picture was not downloaded, in img2dataset's words. None if it was downloaded."""
    if facts.get("status") in (None, "success"):
        return None
    return str(facts.get("error") or facts["status"])


def _first(values: Mapping[str, Any], names: Iterable[str]) -> Any:
    return next((values[name] for name in names if values.get(name) is not None), None)


def _text(value: Any) -> str:
    return str(value).strip()


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _unsafe(value: Any) -> float | None:
    return _NSFW[value.upper()] if isinstance(value, str) and value.upper() in _NSFW else _number(value)


def _orientation(value: Any) -> int | None:
    """Orientation 2..8 from EXIF stored as JSON, in exifread's words or as the number. None if upright or unknown."""
    tags = value
    if isinstance(value, str | bytes):
        try:
            tags = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if not isinstance(tags, dict):
        return None
    value = str(tags.get("Image Orientation") or tags.get("Orientation") or "").strip().lower()
    is_digit = value.isascii() and value.isdigit() and len(value) == 1
    orientation = int(value) if is_digit else _ORIENTATIONS.get(value, 1)
    return orientation if 2 <= orientation <= 8 else None
