"""From a table's rows to benchmark items, by the benchmark's definition."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.benchmarks.choices import (
    Options,
    cell_text,
    option_letters,
    options_in_cell,
    options_in_columns,
    options_in_text,
    parse_literal,
)
from tasks.benchmarks.definition import Columns, Definition
from tasks.benchmarks.item import AnswerFormat, BenchmarkItem, RejectedRow
from tasks.benchmarks.pictures import NoPicture, encoded_pictures, side_by_side
from tasks.benchmarks.rows import TableRow
from tasks.records import AnswerKind
from tasks.records.picture import Picture
from tasks.settings.errors import UserError

LETTERS_ONLY: Options = dict.fromkeys("ABCDEFGHIJ", "")
"""Options whose texts only the picture shows."""
ANSWER_INSTRUCTIONS: Mapping[AnswerFormat, str] = {
    "letter": "Answer with the letter of the right option.",
    "letters": "Answer with the letters of all right options.",
    "yes or no": "Answer yes or no.",
}
NO_PICTURE = "no picture"
YES_OR_NO = {"1": "yes", "0": "no", "yes": "yes", "no": "no", "true": "yes", "false": "no"}


class RowRejected(Exception):
    """The row cannot be asked. The message is the reason."""


class ItemReader:
    """Reads rows of one file or folder as items."""

    def __init__(self, definition: Definition, path: Path) -> None:
        self.definition = definition
        self.path = path
        self.folder = path.parent if path.is_file() else path

    def keeps(self, row: TableRow) -> bool:
        """Whether the row belongs to the part of the data set that is scored."""
        kept, left_out = self.definition.keep_rows.items(), self.definition.leave_out.items()
        return all(column not in row or str(row[column]) in values for column, values in kept) and not any(
            str(row.get(column)) in values for column, values in left_out
        )

    def item(self, row: TableRow, number: int) -> BenchmarkItem | RejectedRow:
        """The row as an item, or why it cannot be asked. UserError if the file lacks a column."""
        id = self.text(row, self.definition.id) or str(number)
        try:
            return self._item({**row, **self.columns_in_id(id)}, id)
        except RowRejected as rejected:
            return RejectedRow(id, str(rejected))

    def _item(self, row: TableRow, id: str) -> BenchmarkItem:
        definition = self.definition
        picture = self.picture(row)
        question, given = self.question(row), self.given_options(row)
        options = given or options_in_text(question)
        target, answer_format = self.target(row, given, options)
        if answer_format in ("letter", "letters") and not options:
            options = LETTERS_ONLY
        return BenchmarkItem(
            id=id,
            domain=self.category(row),
            question=self.prompt(row, question, options, answer_format),
            kind=answer_kind(target) if answer_format == "open" else "short_answer",
            target=target,
            picture=Picture(f"{self.path.stem}/{id}", picture),
            answer_format=answer_format,
            options=tuple(options.items()) if answer_format in ("letter", "letters") else (),
            alternatives=self.alternatives(row) if answer_format == "open" else (),
            decimals=self.decimals(row) if answer_format == "open" else None,
            tolerance=definition.tolerance,
            cluster=self.text(row, definition.cluster) or None,
            attributes=tuple(f"{name}={self.text(row, columns)}" for name, columns in definition.attributes.items()),
        )

    def category(self, row: TableRow) -> str:
        """The row's category or categories; without any, the file's name."""
        category = parse_literal(self.text(row, self.definition.category))
        return ", ".join(map(str, category)) if isinstance(category, list) else str(category) or self.path.stem

    def columns_in_id(self, id: str) -> dict[str, str]:
        """Columns that the id encodes."""
        match = re.search(self.definition.id_pattern, id) if self.definition.id_pattern else None
        return {} if match is None else match.groupdict()

    def picture(self, row: TableRow) -> bytes:
        """All pictures of the row as one.

        A column may hold a bare file name where another column holds the picture (`image` and `decoded_image` of
        MathVista), so a bad column counts only if no other column has a picture.
        """
        columns = [names for column in self.definition.images if (names := _matching(row, column))]
        if not columns:
            raise UserError(f"{self.path} has no column {' or '.join(self.definition.images)}.")
        problem = ""
        for names in columns:
            try:
                pictures = [data for name in names for data in encoded_pictures(row[name], self.folder)]
            except NoPicture as error:
                problem = problem or f"bad picture: in its column `{names[0]}` {error}"
                continue
            if pictures:
                return side_by_side(pictures)
        raise RowRejected(problem or NO_PICTURE)

    def question(self, row: TableRow) -> str:
        """The question. Its text may list the options."""
        question = self.text(row, self.definition.question) or self.definition.default_question
        if not question:
            raise RowRejected("no question")
        unit = self.text(row, self.definition.unit)
        return f"{question} (Unit: {unit})" if unit else question

    def given_options(self, row: TableRow) -> Options:
        """Options that have columns of their own."""
        return options_in_columns(row) or options_in_cell(self.cell(row, self.definition.options))

    def target(self, row: TableRow, given: Options, options: Options) -> tuple[str, AnswerFormat]:
        """The right answer and its format.

        An open question may list what looks like options, but then its answer is no letter.
        """
        answer, answer_format = self.text(row, self.definition.answer), self.definition.answer_format
        if not answer:
            raise RowRejected("no answer")
        if answer_format == "yes or no" or (answer_format is None and not given and answer.lower() in ("yes", "no")):
            return YES_OR_NO.get(answer.lower(), answer), "yes or no"
        if answer_format == "letters" and option_letters(answer):
            return option_letters(answer), "letters"
        letter = self.text(row, self.definition.answer_letter) or _option_letter(
            answer, given, text_first=bool(self.definition.answer_letter)
        )
        if letter and options and letter not in options:
            raise RowRejected(f"no such option: the answer is {letter}, the options are {', '.join(options)}")
        if letter or answer in (options or LETTERS_ONLY):
            return letter or answer, "letter"
        if given:
            raise RowRejected(f"no such option: the answer is {answer!r}, the options are {', '.join(given)}")
        return answer, "open"

    def prompt(self, row: TableRow, question: str, options: Options, answer_format: AnswerFormat) -> str:
        """The question with its hint, its options and the answer instruction, in VLMEvalKit's words."""
        hint = self.text(row, ("hint",))
        instruction = self.instruction(row) if answer_format == "open" else ""
        in_picture = not self.text(row, self.definition.question)
        listed = not in_picture and any(options.values()) and options != options_in_text(question)
        listed = listed and answer_format != "open"
        lines = [f"Hint: {hint}"] if hint else []
        lines += [f"Question: {question}" if hint or listed else question]
        lines += ["Options:", *(f"{letter}. {text}" for letter, text in options.items())] if listed else []
        lines += [ANSWER_INSTRUCTIONS[answer_format]] if answer_format in ANSWER_INSTRUCTIONS else []
        return "\n".join([*lines, *([instruction] if instruction else [])])

    def instruction(self, row: TableRow) -> str:
        """What the answer must look like, where the authors say so."""
        kind, places = self.text(row, ("answer_type",)), self.decimals(row)
        instructions = self.definition.instructions
        return instructions.get(f"{kind} {places}") or instructions.get(kind, "")

    def decimals(self, row: TableRow) -> int | None:
        """Decimal places to which an answer is rounded; None where the benchmark does not round."""
        if not self.definition.decimals or self.text(row, ("answer_type",)) not in ("integer", "float"):
            return None
        places = self.text(row, self.definition.decimals)
        return int(float(places)) if re.fullmatch(r"\d+(\.0*)?", places) else 0

    def alternatives(self, row: TableRow) -> tuple[str, ...]:
        """Several right answers to an open question, which MMMU writes as a list."""
        if not self.definition.lists_answers:
            return ()
        answers = parse_literal(self.text(row, self.definition.answer))
        return tuple(map(str, answers)) if isinstance(answers, list) else ()

    def text(self, row: TableRow, columns: Columns) -> str:
        """The first filled cell of the columns, as text; empty if all are empty."""
        return cell_text(self.cell(row, columns))

    def cell(self, row: TableRow, columns: Columns) -> Any:
        """The first filled cell of the columns; None if all are empty."""
        return next((value for column in columns if cell_text(value := _look_up(row, column))), None)


def _look_up(row: TableRow, column: str) -> Any:
    """The value of `column`, `outer.inner` or `one+other` (see `definition`)."""
    if column in row:
        return row[column]
    if "+" in column:
        parts = [cell_text(_look_up(row, part)) for part in column.split("+")]
        return "/".join(parts) if all(parts) else None
    outer, dot, inner = column.partition(".")
    if not dot:
        return None
    value = row.get(outer)
    mapping = parse_literal(value) if isinstance(value, str) else value
    return mapping.get(inner) if isinstance(mapping, Mapping) else None


def _matching(row: TableRow, pattern: str) -> Sequence[str]:
    """The row's columns that match a name with at most one `*`, sorted by the number in place of the `*`."""
    if "*" not in pattern:
        return [pattern] if pattern in row else []
    expression = re.compile(re.escape(pattern).replace(r"\*", r"(\d+)"))
    numbered = [(int(match[1]), name) for name in row if (match := expression.fullmatch(name))]
    return [name for _, name in sorted(numbered)]


def _option_letter(answer: str, options: Options, text_first: bool) -> str:
    """The letter of the option that an answer names, by letter or by text; empty if it names none.

    `text_first`: an answer that is one option's letter and another option's text is read as the text.
    """
    letters = option_letters(answer)
    by_name = letters if letters in options else ""
    same_text = [letter for letter, text in options.items() if text == answer]
    by_text = same_text[0] if len(same_text) == 1 else ""
    return (by_text or by_name) if text_first else (by_name or by_text)


def answer_kind(answer: str) -> AnswerKind:
    """Whether an open question asks for a number."""
    return "numeric_value" if re.fullmatch(r"\s*[-+]?[\d.,]+\s*", answer) else "short_answer"
