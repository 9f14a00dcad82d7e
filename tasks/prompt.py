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
        """The decoded picture: first frame, upright, RGB."""
        from PIL import Image

        return upright_rgb(Image.open(io.BytesIO(self.data)))


def upright_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB as a person sees it: EXIF orientation applied, transparency on white, 16-bit grey scaled, not clipped.

    The one conversion for what is embedded and what is shown, so that a picture is found by what the model sees.
    """
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        return image.point(lambda value: value / 256).convert("L").convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    canvas = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(canvas, image.convert("RGBA")).convert("RGB")
