"""What the command line prints: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

Record = Mapping[str, Any]


def say(line: str) -> None:
    """A line of result."""
    print(line)


def note(line: str) -> None:
    """A line about what was done beside the result."""
    print(line, file=sys.stderr)


def complain(line: str) -> None:
    """A line about what went wrong. Whatever an error's text holds, it is one line."""
    print(f"active-zero: {' '.join(line.split())}", file=sys.stderr)


def say_json(document: object) -> None:
    """The one JSON document of a `--json` command; times as ISO 8601 text."""
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False, default=str)
    sys.stdout.write("\n")


def say_table(records: Sequence[Record], columns: Sequence[str], nothing: str) -> None:
    """Records as a table of the named fields; `nothing` where there are none."""
    from rich.table import Table
    from rich.text import Text

    if not records:
        say(nothing)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if _is_number(records[0][column]) else "left", overflow="fold")
    for record in records:
        table.add_row(*(Text(_shown(record[column])) for column in columns))  # Text: `[...]` in a value is no markup
    output().print(table)


def output() -> Console:
    """Standard output. Wide where nobody watches, so that lines can be searched."""
    from rich.console import Console

    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 220, highlight=False)


def errors() -> Console:
    """Standard error."""
    from rich.console import Console

    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: object) -> str:
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
            return ", ".join(_shown(item) for item in value)
    return str(value)
