"""A benchmark on disk: rows of its file, read as its definition says."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tasks.benchmarks.choices import Options, in_cell, in_columns, in_text, letters_in, literal
from tasks.benchmarks.definition import PLAIN, Columns, Definition
from tasks.benchmarks.item import BenchmarkItem, Form
from tasks.benchmarks.metrics import Metric
from tasks.benchmarks.pictures import NoPicture, encoded, side_by_side
from tasks.benchmarks.rows import TableRow, rows_of
from tasks.records import AnswerKind
from tasks.records.prompt import Picture
from tasks.settings.base import Settings
from tasks.settings.errors import UserError

UNSEEN: Options = dict.fromkeys("ABCDEFGHIJ", "")
"""Options whose texts stand in the picture only."""
INSTRUCTIONS: Mapping[Form, str] = {
    "letter": "Answer with the letter of the right option.",
    "letters": "Answer with the letters of all right options.",
    "yes or no": "Answer yes or no.",
}
TRUTHS = {"1": "yes", "0": "no", "yes": "yes", "no": "no", "true": "yes", "false": "no"}

log = logging.getLogger(__name__)


class TableBenchmark(Settings):
    """TSV or parquet files, or folders of such."""

    kind: Literal["table"] = "table"
    paths: tuple[Path, ...] = Field(min_length=1)
    """Files and folders; they enter fingerprints by their contents."""
    definition: Definition = PLAIN

    @property
    def metric(self) -> Metric:
        """The benchmark's own."""
        return self.definition.metric

    def items(self) -> list[BenchmarkItem]:
        """All rows that have a picture. UserError for what is no such table, naming the column or row.

        Rows without one are left out, as VLMEvalKit does (HallusionBench has 178 of them).
        """
        items = [item for path in self.paths for item in self._items(path)]
        if twice := [id for id, count in Counter(item.id for item in items).items() if count > 1]:
            raise UserError(f"benchmark {self.paths[0]} has {len(twice)} ids more than once, such as {twice[0]}.")
        return items

    def _items(self, path: Path) -> list[BenchmarkItem]:
        read = Reading(self.definition, path)
        rows = [row for row in rows_of(path) if read.wanted(row)]
        items = [item for number, row in enumerate(rows) if (item := read.item(row, number)) is not None]
        if not items:
            raise UserError(f"benchmark {path} has no rows with a picture.")
        if dropped := len(rows) - len(items):
            log.info("%s: %d of %d rows have no picture and are left out", path.name, dropped, len(rows))
        return items


class Reading:
    """From rows to items, by one definition."""

    def __init__(self, definition: Definition, path: Path) -> None:
        self.definition = definition
        self.path = path
        self.folder = path.parent if path.is_file() else path

    def wanted(self, row: TableRow) -> bool:
        """Whether the row belongs to the part of the set that is asked."""
        return all(column not in row or str(row[column]) in values for column, values in self.definition.only.items())

    def item(self, row: TableRow, number: int) -> BenchmarkItem | None:
        """The row as an item; None if it has no picture."""
        defined = self.definition
        id = self.text(row, defined.id) or str(number)
        row = {**row, **self.parts(id)}
        where = f"{self.path}, index {id}"
        if (picture := self.picture(row, where)) is None:
            return None
        question, stated = self.question(row, where), self.stated(row)
        options = stated or in_text(question)
        target, form = self.target(row, stated, options, where)
        if form in ("letter", "letters") and not options:
            options = UNSEEN
        return BenchmarkItem(
            id=id,
            domain=self.category(row),
            question=self.asked(row, question, options, form),
            kind=kind_of(target) if form == "open" else "short_answer",
            target=target,
            picture=Picture(f"{self.path.stem}/{id}", picture),
            form=form,
            options=tuple(options.items()) if form in ("letter", "letters") else (),
            also=self.also(row) if form == "open" else (),
            tolerance=defined.tolerance,
            cluster=self.text(row, defined.cluster) or None,
            attributes=tuple(f"{name}={self.text(row, names)}" for name, names in defined.attributes.items()),
        )

    def category(self, row: TableRow) -> str:
        """Its category, or several; without any the file's name."""
        found = literal(self.text(row, self.definition.category))
        return ", ".join(map(str, found)) if isinstance(found, list) else str(found) or self.path.stem

    def parts(self, id: str) -> dict[str, str]:
        """Columns that are written into the id."""
        found = re.search(self.definition.index, id) if self.definition.index else None
        return {} if found is None else found.groupdict()

    def picture(self, row: TableRow, where: str) -> bytes | None:
        """All of the row's pictures as one; None if it has none.

        A column may hold a mere name where another has the picture (`image` and `decoded_image` of MathVista), so what
        is wrong is told only if none has one.
        """
        columns = [names for column in self.definition.images if (names := _matching(row, column))]
        wrong = "" if columns else f"no column {' or '.join(self.definition.images)}"
        for names in columns:
            try:
                found = [data for name in names for data in encoded(row[name], self.folder)]
            except NoPicture as other:
                wrong = wrong or f"in its column `{names[0]}` {other}"
                continue
            if found:
                return side_by_side(found)
        if wrong:
            raise UserError(f"{where} has no picture, but {wrong}.")
        return None

    def question(self, row: TableRow, where: str) -> str:
        """What is asked; it may list its options itself."""
        question = self.text(row, self.definition.question) or self.definition.without_question
        if not question:
            raise UserError(f"{where} has no question ({', '.join(self.definition.question)}).")
        return question

    def stated(self, row: TableRow) -> Options:
        """Options in columns of their own."""
        return in_columns(row) or in_cell(self.cell(row, self.definition.options))

    def target(self, row: TableRow, stated: Options, options: Options, where: str) -> tuple[str, Form]:
        """The right answer, and of what form it is. An open question may list what looks like options, but its answer
        is no letter."""
        answer, form = self.text(row, self.definition.answer), self.definition.form
        if not answer:
            raise UserError(f"{where} has no answer ({', '.join(self.definition.answer)}).")
        if form == "yes or no" or (form is None and not stated and answer.lower() in ("yes", "no")):
            return TRUTHS.get(answer.lower(), answer), "yes or no"
        if form == "letters" and letters_in(answer):
            return letters_in(answer), "letters"
        letter = self.text(row, self.definition.letter) or _option_of(answer, stated, bool(self.definition.letter))
        if letter or answer in (options or UNSEEN):
            return letter or answer, "letter"
        if stated:
            raise UserError(f"{where}: the answer {answer!r} is none of its options {', '.join(stated)}.")
        return answer, "open"

    def asked(self, row: TableRow, question: str, options: Options, form: Form) -> str:
        """The question with its hint, its options and what to answer with, worded as VLMEvalKit words it."""
        hint, how = self.text(row, ("hint",)), self.definition.asks.get(self.text(row, ("answer_type",)), "")
        in_picture = not self.text(row, self.definition.question)
        listed = not in_picture and any(options.values()) and options != in_text(question) and form != "open"
        lines = [f"Hint: {hint}"] if hint else []
        lines += [f"Question: {question}" if hint or listed else question]
        lines += ["Options:", *(f"{letter}. {text}" for letter, text in options.items())] if listed else []
        return "\n".join([*lines, *([INSTRUCTIONS[form]] if form in INSTRUCTIONS else []), *([how] if how else [])])

    def also(self, row: TableRow) -> tuple[str, ...]:
        """MMMU writes several right answers to an open question as a list."""
        answers = literal(self.text(row, self.definition.answer))
        return tuple(str(one) for one in answers) if isinstance(answers, list) else ()

    def text(self, row: TableRow, columns: Columns) -> str:
        """The first of the columns that is filled, as text; empty if none is."""
        return _plain(self.cell(row, columns))

    def cell(self, row: TableRow, columns: Columns) -> Any:
        return next((value for column in columns if _plain(value := _look_up(row, column))), None)


def _look_up(row: TableRow, column: str) -> Any:
    if column in row:
        return row[column]
    if "+" in column:
        parts = [_plain(_look_up(row, part)) for part in column.split("+")]
        return "/".join(parts) if all(parts) else None
    outer, dot, inner = column.partition(".")
    if not dot:
        return None
    held = literal(row[outer]) if isinstance(row.get(outer), str) else row.get(outer)
    return held.get(inner) if isinstance(held, Mapping) else None


def _plain(value: object) -> str:
    """A cell as text: nothing for an empty one, a whole number without its `.0`."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _matching(row: TableRow, column: str) -> Sequence[str]:
    """The row's columns of a name that may hold a `*`, by their numbers."""
    if "*" not in column:
        return [column] if column in row else []
    pattern = re.compile(re.escape(column).replace(r"\*", r"(\d+)"))
    found = [(int(match[1]), name) for name in row if (match := pattern.fullmatch(name))]
    return [name for _, name in sorted(found)]


def _option_of(answer: str, options: Options, by_text: bool) -> str:
    """The letter that an answer is, or whose option it is; `by_text` where texts come first. Empty if it is neither."""
    letter = letters_in(answer)
    named = letter if letter in options else ""
    same = [letter for letter, text in options.items() if text == answer]
    meant = same[0] if len(same) == 1 else ""
    return (meant or named) if by_text else (named or meant)


def kind_of(answer: str) -> AnswerKind:
    """Whether an open question asks for a number."""
    return "numeric_value" if re.fullmatch(r"\s*[-+]?[\d.,]+\s*", answer) else "short_answer"
