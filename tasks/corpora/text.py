"""Text from untrusted bytes and values: valid Unicode, without what a terminal would act on."""

from __future__ import annotations

import codecs
import math
from collections.abc import Iterable
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


def printable(name: str) -> str:
    """A member's or file's name with control and invalid characters written out: `\\x1b[31m` for an escape."""
    if name.isprintable():
        return name
    return "".join(letter if letter.isprintable() else _written(letter) for letter in name)


def some(names: Iterable[str], most: int = 3) -> str:
    """The first names of a list: `a.png, b.png, c.png and 7 more`."""
    listed = sorted(map(printable, names))
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def _valid(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _written(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as `os.fsdecode` keeps it
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
