"""One invocation of `active-zero`, kept in the Typer context."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import typer


@dataclass
class Session:
    """What the options and the command have set so far; `main` reads it when the command fails."""

    verbose: bool = False
    """`--verbose`: show every log record, and raise failures with their traceback."""
    log_file: Path | None = None
    """The log file of the command's work; None until the work starts."""


def session_of(context: typer.Context) -> Session:
    """The session of a command's context."""
    return context.ensure_object(Session)
