"""Output of the command line: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.settings.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

Record = Mapping[str, Any]


def print_line(line: str) -> None:
    """Print a line of the result."""
    print(line)


def print_note(line: str) -> None:
    """Print a line that is no part of the result, on standard error."""
    print(line, file=sys.stderr)


def print_error(line: str) -> None:
    """Print an error on standard error, as one line."""
    print(f"active-zero: {' '.join(line.split())}", file=sys.stderr)


def print_json(document: object) -> None:
    """Print the one JSON document of a `--json` command; times as ISO 8601 text."""
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False, default=str)
    sys.stdout.write("\n")


def print_table(records: Sequence[Record], columns: Sequence[str], empty: str) -> None:
    """Print the named fields of records as a table; `empty` where there are no records."""
    from rich.table import Table
    from rich.text import Text

    if not records:
        print_line(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if _is_number(records[0][column]) else "left", overflow="fold")
    for record in records:
        table.add_row(*(Text(_cell(record[column])) for column in columns))  # Text: `[...]` in a value is no markup
    output().print(table)


def print_records(records: Sequence[Record], columns: Sequence[str], empty: str, as_json: bool) -> None:
    """Print records as JSON, with all fields, or as a table of the named ones."""
    if as_json:
        print_json(records)
    else:
        print_table(records, columns, empty)


def write_file(out: Path | None, data: bytes, option: str = "--out") -> None:
    """Write `data` to a file, or to standard output. UserError where the file that `option` names is not writable."""
    if out is None:
        sys.stdout.buffer.write(data)
        return
    try:
        out.write_bytes(data)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}): give another {option}.") from None
    print_note(f"wrote {out}")


def output() -> Console:
    """Standard output; 220 columns wide where it is no terminal, so that `grep` finds whole lines."""
    from rich.console import Console

    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 220, highlight=False)


def errors() -> Console:
    """Standard error."""
    from rich.console import Console

    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.3g}" if abs(value) < 1 else f"{value:.1f}"
        case Mapping():
            return ", ".join(f"{name} {count}" for name, count in value.items())
        case list() | tuple():
            return ", ".join(_cell(item) for item in value)
    return str(value)
