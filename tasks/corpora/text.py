"""Text from untrusted bytes and values, as valid Unicode."""

from __future__ import annotations

import codecs
import math
from typing import Any

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def text_of_bytes(data: bytes) -> str:
    """The text of a file: UTF-8, or UTF-16 with its mark; what is neither becomes U+FFFD."""
    return data.decode("utf-16" if data.startswith(_UTF_16) else "utf-8-sig", "replace").strip()


def text_of(value: Any) -> str | None:
    """The text that a metadata value holds: of a list its first text; None for NaN, a mapping, or nothing.

    Half of a surrogate pair, which JSON can hold and Parquet cannot, becomes U+FFFD.
    """
    if isinstance(value, bytes):
        value = text_of_bytes(value)
    if isinstance(value, list | tuple):
        return next((text for text in map(text_of, value) if text), None)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return _valid(str(value)).removeprefix("\ufeff").strip() or None
    return None


def _valid(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
