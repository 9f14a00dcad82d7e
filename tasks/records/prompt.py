"""The text of a prompt."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Prompt:
    """The user's text, before which the picture goes, and an optional system text."""

    user: str
    system: str | None = None
