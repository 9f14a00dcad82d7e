"""What the model is shown: a prompt's text and a picture."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Prompt:
    """What a role says to the model: an optional system text and the user's text (the picture goes before it)."""

    user: str
    system: str | None = None


@dataclass(frozen=True)
class Picture:
    """An encoded picture and its key. Equality and hashing are by key."""

    key: str
    data: bytes = field(repr=False, compare=False)

    @cached_property
    def image(self) -> Image.Image:
        """The decoded picture in RGB."""
        from PIL import Image

        return Image.open(io.BytesIO(self.data)).convert("RGB")
