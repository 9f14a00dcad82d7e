"""What a data set's makers wrote about a picture, under whatever names they used.

img2dataset, LAION, DataComp and their mirrors call the same things `TEXT`, `caption` or `alt`; names are compared
without case. A parquet also lists what could not be downloaded, and in another order than the tar, so its rows are
found by key.
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
"""Our names, and theirs in lower case, the best first."""

Facts = Mapping[str, Any]
"""What is known of a picture: ours of the names, none of the values None."""

_NSFW = {"UNLIKELY": 0.0, "UNSURE": 0.5, "NSFW": 1.0}
"""LAION-400M has words where later sets have a probability."""

_TURNS = {
    "mirrored horizontal": 2,
    "rotated 180": 3,
    "mirrored vertical": 4,
    "mirrored horizontal then rotated 90 ccw": 5,
    "rotated 90 cw": 6,
    "mirrored horizontal then rotated 90 cw": 7,
    "rotated 90 ccw": 8,
}
"""EXIF orientations as exifread, and so img2dataset, words them."""


class DamagedMetadata(Exception):
    """The metadata cannot be used, and why."""


def read_parquet(path: Path) -> dict[str, Facts]:
    """A shard's facts by sample key. Raises DamagedMetadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        theirs = {name.lower(): name for name in pq.read_schema(path).names}
        wanted = [theirs[alias] for aliases in ALIASES.values() for alias in aliases if alias in theirs]
        rows = pq.read_table(path, columns=wanted).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DamagedMetadata(first_line(error)[:120]) from None
    if not theirs.keys() & set(ALIASES["key"]):
        raise DamagedMetadata("no column `key` to join on")
    return {str(one["key"]): one for one in map(facts_of, rows) if "key" in one}


def facts_of(values: Mapping[str, Any]) -> Facts:
    """Ours of the names, from a row or an object that uses anybody's."""
    theirs = {str(name).lower(): value for name, value in values.items()}
    found = {name: _first(theirs, aliases) for name, aliases in ALIASES.items()}
    return {name: value for name, value in found.items() if value is not None}


def read_json(data: bytes) -> Facts:
    """The facts of a `.json` member; none where it is no JSON object."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return facts_of(value) if isinstance(value, dict) else {}


def columns(facts: Facts) -> dict[str, Any]:
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
    read = {name: read(facts[name]) for name, read in readers.items() if name in facts}
    return {"orientation" if name == "exif" else name: value for name, value in read.items()}


def failure(facts: Facts) -> str | None:
    """Why a picture was not downloaded, in img2dataset's words; None where it was."""
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
    """2..8 from EXIF kept as JSON: exifread's words, or the number itself. None for upright or unknown."""
    tags = value
    if isinstance(value, str | bytes):
        try:
            tags = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if not isinstance(tags, dict):
        return None
    said = str(tags.get("Image Orientation") or tags.get("Orientation") or "").strip().lower()
    turn = int(said) if said.isascii() and said.isdigit() and len(said) == 1 else _TURNS.get(said, 1)
    return turn if 2 <= turn <= 8 else None
