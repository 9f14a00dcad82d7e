"""The options of a multiple choice question, in the ways in which benchmarks write them."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from string import ascii_uppercase

Options = dict[str, str]
"""Texts by letter, from `A` on without a gap."""

_MARK = re.compile(r"(?:^|(?<=[\s,;:（(]))[(（]?([A-Z])\s*[.:、．：)）]\s*|(?:^|(?<=[\s,;]))\(([a-z])\)\s*")
"""`A.`, `A:`, `(A)`, `(a)`, with white space or a sign before it."""


def lettered(texts: Sequence[object]) -> Options:
    """Options in their order; none if there are fewer than two."""
    return (
        {letter: str(text).strip() for letter, text in zip(ascii_uppercase, texts, strict=False)} if texts[1:] else {}
    )


def in_columns(row: Mapping[str, object]) -> Options:
    """Columns `A`, `B`, ... up to the first that is empty."""
    texts: list[str] = []
    for letter in ascii_uppercase:
        if not (text := str(row.get(letter) or "").strip()):
            break
        texts.append(text)
    return lettered(texts)


def in_cell(cell: object) -> Options:
    """A list, a list written as Python, or a text with marks (`A. 45; B. 60`)."""
    if isinstance(cell, str):
        cell = literal(cell)
    if isinstance(cell, list | tuple):
        return lettered(cell)
    return in_text(str(cell or ""))


def in_text(text: str) -> Options:
    """Options listed in a text, by the last run of marks in the order of the alphabet."""
    found: list[re.Match[str]] = []
    for mark in _MARK.finditer(text):
        letter = (mark[1] or mark[2]).upper()
        if letter == "A":
            found = [mark]
        elif found and letter == ascii_uppercase[len(found)]:
            found.append(mark)
    ends = [mark.start() for mark in found[1:]] + [len(text)]
    return lettered([_tidy(text[mark.end() : end]) for mark, end in zip(found, ends, strict=True)] if found else [])


def _tidy(text: str) -> str:
    """An option without what parts it from the next; of the last one only its line, since a hint may follow it."""
    lines = text.strip().splitlines()
    return lines[0].strip().rstrip(";,；，").strip() if lines else ""


def literal(text: str) -> object:
    """A list or mapping written as Python; the text itself if it is none."""
    if not text.lstrip().startswith(("[", "{", "(")):
        return text
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def letters_in(text: str) -> str:
    """The letters of a text that is nothing but option letters (`A, C`, `(a) and (c)`, `AC`), sorted; else empty."""
    bare = re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", text)
    bare = re.sub(r"\b(?:and|options?|choices?|answers?)\b|[\s,;.:&/()\[\]{}$\"']", " ", bare, flags=re.IGNORECASE)
    words = bare.split()
    if len(words) == 1 and words[0].isupper():
        words = list(words[0])
    plain = all(re.fullmatch(r"[A-Za-z]", word) for word in words)
    return "".join(sorted({word.upper() for word in words})) if plain else ""
