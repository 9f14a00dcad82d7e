"""Errors that the user can mend, and the words in which an error names things."""

from __future__ import annotations

from collections.abc import Iterable


class UserError(Exception):
    """An error in one line: what is wrong, where, and what to do. The command line prints it and exits with 2."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message; the class name where the message is empty."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def printable(name: str) -> str:
    """A name with control and invalid characters written out: `\\x1b[31m` for an escape, which a terminal obeys."""
    if name.isprintable():
        return name
    return "".join(letter if letter.isprintable() else _written(letter) for letter in name)


def some(names: Iterable[str], most: int = 3) -> str:
    """The first names of a list: `a.png, b.png, c.png and 7 more`."""
    listed = sorted(map(printable, names))
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def _written(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as `os.fsdecode` keeps it
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
