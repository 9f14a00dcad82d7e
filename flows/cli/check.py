"""The result of one check of `active-zero doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

State = Literal["pass", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """What was checked, and how it turned out."""

    name: str
    state: State
    message: str
    """What was found and, unless it passed, what to do."""
    details: dict[str, Any] | None = None
    """The numbers behind the message, for `--json` and a table."""
