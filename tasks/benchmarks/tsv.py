"""Benchmarks as VLMEvalKit files them: a TSV with the picture in base64, the question, its options and the answer.

Columns: `index`, `image`, `question`, `answer`; perhaps `A`, `B`, ... (options), `hint`, and `category` (or
`l2-category`, `task`), which is the item's domain. A short `image` is the index of the row whose picture it shares.
"""

from __future__ import annotations

import base64
import binascii
import csv
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Literal

from pydantic import BaseModel, ConfigDict

from tasks.benchmarks.item import Item
from tasks.errors import UserError
from tasks.prompt import Picture
from tasks.records import AnswerKind

REQUIRED = ("index", "image", "question", "answer")
DOMAINS = ("category", "l2-category", "task")
REFERENCE = 64
"""A picture of at most so many characters is the index of another row (VLMEvalKit's rule)."""

TsvRow = Mapping[str, str]


class Tsv(BaseModel):
    """A VLMEvalKit file. Each item has one picture."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["tsv"] = "tsv"
    path: Path
    """The file; it enters identities by its contents."""

    def items(self) -> list[Item]:
        """All rows. UserError for a file that is not such a TSV, naming the column or row."""
        rows = _read(self.path)
        images = {row["index"]: row["image"] for row in rows}
        return [self._item(row, images) for row in rows]

    def _item(self, row: TsvRow, images: Mapping[str, str]) -> Item:
        letters = options_of(row)
        if letters and row["answer"].strip() not in letters:
            raise UserError(
                f"{self._row(row)}: the answer {row['answer']!r} is none of its options {', '.join(letters)}."
            )
        return Item(
            id=row["index"],
            domain=next((row[name] for name in DOMAINS if row.get(name)), self.path.stem),
            question=question_of(row),
            kind="short_answer" if letters else kind_of(row["answer"]),
            target=row["answer"].strip(),
            picture=Picture(f"{self.path.stem}/{row['index']}", self._picture(row, images)),
        )

    def _picture(self, row: TsvRow, images: Mapping[str, str]) -> bytes:
        text = row["image"].strip()
        if len(text) <= REFERENCE:
            text = images.get(text, "")
        if text.startswith("["):
            raise UserError(
                f"{self._row(row)} has several pictures: only benchmarks with one picture an item are read."
            )
        try:
            return base64.b64decode(text, validate=True) or self._without_picture(row)
        except binascii.Error:
            return self._without_picture(row)

    def _without_picture(self, row: TsvRow) -> bytes:
        raise UserError(f"{self._row(row)} has no picture in base64 in its column `image`.")

    def _row(self, row: TsvRow) -> str:
        return f"{self.path}, index {row['index']}"


def options_of(row: TsvRow) -> dict[str, str]:
    """Options by their letters, up to the first that is missing; none where the question is open."""
    options: dict[str, str] = {}
    for letter in ascii_uppercase:
        if not (row.get(letter) or "").strip():
            break
        options[letter] = row[letter].strip()
    return options if len(options) > 1 else {}


def question_of(row: TsvRow) -> str:
    """The question with its hint and options, worded as VLMEvalKit words it."""
    options = [f"{letter}. {text}" for letter, text in options_of(row).items()]
    lines = [f"Hint: {row['hint']}"] if row.get("hint") else []
    lines += [f"Question: {row['question']}"] if lines or options else [row["question"]]
    if options:
        lines += ["Options:", *options, "Answer with the letter of the right option."]
    return "\n".join(lines)


def kind_of(answer: str) -> AnswerKind:
    """Whether an open question asks for a number."""
    return "numeric_value" if re.fullmatch(r"\s*[-+]?[\d.,]+\s*", answer) else "short_answer"


def _read(path: Path) -> Sequence[TsvRow]:
    csv.field_size_limit(sys.maxsize)  # a picture is one field of up to megabytes
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [
                {name: value or "" for name, value in row.items() if name}
                for row in csv.DictReader(file, delimiter="\t")
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"benchmark {path} cannot be read ({error}): give a TSV file as VLMEvalKit writes it."
        ) from None
    if not rows:
        raise UserError(f"benchmark {path} has no rows.")
    if missing := [name for name in REQUIRED if name not in rows[0]]:
        raise UserError(f"benchmark {path} has no column {', '.join(missing)}: VLMEvalKit's are {', '.join(REQUIRED)}.")
    return rows
