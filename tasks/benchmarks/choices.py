"""Options of multiple-choice questions, in the notations of the published benchmarks."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from string import ascii_uppercase

Options = dict[str, str]
"""Option texts by letter."""

_MARK = re.compile(r"(?:^|(?<=[\s,;:（(]))[(（]?([A-Z])\s*[.:、．：)）]\s*|(?:^|(?<=[\s,;]))\(([a-z])\)\s*")
"""`A.`, `A:`, `(A)`, `(a)` after white space or punctuation."""


def cell_text(value: object) -> str:
    """A cell as text: empty for None and NaN; whole numbers without `.0`, and 0 as `0`."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def by_letter(texts: Sequence[object]) -> Options:
    """Options lettered in their order; none if there are fewer than two. An empty one keeps its letter from others."""
    lettered = {letter: cell_text(text) for letter, text in zip(ascii_uppercase, texts, strict=False)}
    options = {letter: text for letter, text in lettered.items() if text}
    return options if len(options) > 1 else {}


def options_in_columns(row: Mapping[str, object]) -> Options:
    """Options in the columns `A`, `B`, ...; an empty column in the middle is no option, and the others keep theirs."""
    return by_letter([row.get(letter) for letter in ascii_uppercase])


def options_in_cell(cell: object) -> Options:
    """Options in a list, a list written as Python, or a text with marks (`A. 45; B. 60`)."""
    if isinstance(cell, str):
        cell = parse_literal(cell)
    if isinstance(cell, list | tuple):
        return by_letter(cell)
    return options_in_text(str(cell or ""))


def options_in_text(text: str) -> Options:
    """Options that a text lists: the last run of marks in alphabetical order."""
    run: list[re.Match[str]] = []
    for mark in _MARK.finditer(text):
        letter = (mark[1] or mark[2]).upper()
        if letter == "A":
            run = [mark]
        elif run and letter == ascii_uppercase[len(run)]:
            run.append(mark)
    ends = [mark.start() for mark in run[1:]] + [len(text)]
    return by_letter([_tidy(text[mark.end() : end]) for mark, end in zip(run, ends, strict=True)] if run else [])


def _tidy(text: str) -> str:
    """The option's first line without the separator at its end. (A hint may follow the last option.)"""
    lines = text.strip().splitlines()
    return lines[0].strip().rstrip(";,；，").strip() if lines else ""


def parse_literal(text: str) -> object:
    """The list or mapping that a text writes as Python; any other text itself."""
    if not text.lstrip().startswith(("[", "{", "(")):
        return text
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def option_letters(text: str) -> str:
    """The sorted letters of a text that consists of option letters (`A, C`, `(a) and (c)`, `AC`); otherwise empty."""
    bare = re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", text)
    bare = re.sub(r"\b(?:and|options?|choices?|answers?)\b|[\s,;.:&/()\[\]{}$*\"']", " ", bare, flags=re.IGNORECASE)
    words = bare.split()
    if len(words) == 1 and words[0].isupper():
        words = list(words[0])
    plain = all(re.fullmatch(r"[A-Za-z]", word) for word in words)
    return "".join(sorted({word.upper() for word in words})) if plain else ""
