"""Metadata of pictures, under whatever column names a data set uses.

img2dataset, LAION, DataComp and their mirrors call the same column `TEXT`, `caption` or `alt`. Names are compared
without case. A Parquet file also lists failed downloads, and in another order than the tar, so its rows are found by
key.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.corpora.text import text_of
from tasks.settings.errors import first_line

if TYPE_CHECKING:
    import pyarrow as pa

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


SIDECARS = frozenset({"json", "txt"})
"""Extensions of the files beside a picture that are read."""
HARDLY_ANY = 0.1
"""Metadata of which a smaller share joins a picture belongs to another shard."""


class DamagedMetadata(Exception):
    """The metadata of a shard cannot be used. The message says why."""

    def __init__(self, why: str, rates_safety: bool = True) -> None:
        super().__init__(why)
        self.rates_safety = rates_safety
        """Whether it may have said how safe the pictures are."""


class ShardMetadata:
    """The rows of a shard's Parquet file, which join the pictures on their keys.

    Tools rewrite keys: `000000007` becomes the number 7, or bytes, and a tar of a folder has the folder before each
    name. So a key that is not found as it is joins by its own last part, and by value where that is a number.
    """

    def __init__(self, rows: Mapping[str, Facts] | None = None) -> None:
        self.rows = rows or {}
        self.joined: set[str] = set()
        """Keys of the rows that have been found."""
        self._by_value = _unique_values(self.rows)

    def take(self, key: str) -> Facts | None:
        """The facts about the picture with this key; None without a row, or if another picture has taken it."""
        if key in self.rows:
            self.joined.add(key)
            return self.rows[key]
        found = self._by_value.get(_value_of(key))
        if found is None or found in self.joined:
            return None
        self.joined.add(found)
        return self.rows[found]

    @property
    def left(self) -> dict[str, Facts]:
        """The rows that no picture took."""
        return {key: facts for key, facts in self.rows.items() if key not in self.joined}

    @property
    def rates_safety(self) -> bool:
        """Whether any row says how safe its picture is."""
        return any("punsafe" in facts for facts in self.rows.values())

    def mismatch(self) -> str | None:
        """Why these rows are not those of the shard's pictures; None if they are. Asked when all were taken."""
        expected = [key for key, facts in self.rows.items() if download_failure(facts) is None]
        joined = len(self.joined.intersection(expected))
        return None if joined >= HARDLY_ANY * len(expected) else f"{joined} of {len(expected)} rows join a picture"


def _unique_values(rows: Mapping[str, Facts]) -> dict[str, str]:
    """The key of each value that only one key has."""
    keys: dict[str, list[str]] = defaultdict(list)
    for key in rows:
        keys[_value_of(key)].append(key)
    return {value: same[0] for value, same in keys.items() if len(same) == 1}


def _value_of(key: str) -> str:
    own = key.rpartition("/")[2]
    return own.lstrip("0") or "0" if own.isascii() and own.isdigit() else own


def read_parquet(path: Path) -> dict[str, Facts]:
    """Facts in a shard's Parquet file by sample key; rows without a key are skipped. DamagedMetadata if unusable."""
    import pyarrow.parquet as pq

    try:
        names = {name.lower(): name for name in pq.read_schema(path).names}
        columns = [names[alias] for aliases in ALIASES.values() for alias in aliases if alias in names]
        table = pq.read_table(path, columns=columns)
        values = {name: _values(table[name]) for name in columns}
    except Exception as error:  # a damaged file makes the reader raise anything
        raise DamagedMetadata(first_line(error)[:120]) from None
    if not names.keys() & set(ALIASES["key"]):
        raise DamagedMetadata("no column `key` to join on", bool(names.keys() & set(ALIASES["punsafe"])))
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*values.values(), strict=True)]
    keyed = ((text_of(facts.get("key")), facts) for facts in map(facts_of, rows))
    return {key: facts for key, facts in keyed if key is not None}


def _values(column: pa.ChunkedArray) -> list[Any]:
    """A column's values. Texts that are not valid UTF-8, which Arrow refuses to convert, get U+FFFD."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        encoded = column.cast(pa.large_binary()).to_pylist()
        return [None if value is None else value.decode("utf-8", "replace") for value in encoded]
    return list(column.to_pylist())


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
        "caption": text_of,
        "url": text_of,
        "uid": text_of,
        "similarity": _number,
        "punsafe": _unsafe,
        "pwatermark": _number,
        "exif": _orientation,
    }
    fields = {name: read(facts[name]) for name, read in readers.items() if name in facts}
    return {"orientation" if name == "exif" else name: value for name, value in fields.items()}


def download_failure(facts: Facts) -> str | None:
    """Why a picture was not downloaded, in img2dataset's words. None if it was downloaded."""
    status = text_of(facts.get("status"))
    return None if status in (None, "success") else text_of(facts.get("error")) or status


def _first(values: Mapping[str, Any], names: Iterable[str]) -> Any:
    return next((values[name] for name in names if not _is_missing(values.get(name))), None)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
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
