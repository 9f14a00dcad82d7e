"""What the model is shown: a prompt's text and a picture."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, cast

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
    orientation: int = field(default=1, repr=False, compare=False)
    """EXIF orientation 1..8 that counts where the bytes say none."""

    @cached_property
    def image(self) -> Image.Image:
        """The decoded picture: first frame, upright, RGB."""
        from PIL import Image

        return upright_rgb(Image.open(io.BytesIO(self.data)), self.orientation)


def upright_rgb(image: Image.Image, orientation: int = 1) -> Image.Image:
    """8-bit RGB as a person sees it: EXIF orientation applied, transparency on white, deep grey scaled, not clipped.

    The one conversion for what is embedded and what is shown, so that a picture is found by what the model sees.
    `orientation` counts where the bytes say none.
    """
    turn = _turn(image, orientation)
    turned = image if turn is None else image.transpose(turn)
    rgb = turned if turn is not None and turned.mode == "RGB" else _rgb(turned)
    rgb.info.clear()  # so that nobody turns it again by the EXIF that went along
    return rgb


def _rgb(image: Image.Image) -> Image.Image:
    """A new picture in RGB; of large ones as few copies as can be."""
    from PIL import Image

    if image.mode.startswith("I;16"):
        return image.point(lambda value: value / 256).convert("L").convert("RGB")
    if image.mode in ("I", "F"):
        return _scaled(image).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    clear = image if image.mode == "RGBA" else image.convert("RGBA")
    canvas = Image.new("RGB", clear.size, "white")
    canvas.paste(clear, mask=clear)
    return canvas


def _turn(image: Image.Image, otherwise: int) -> Image.Transpose | None:
    """What undoes the EXIF orientation."""
    from PIL import ExifTags
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    try:
        said = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # a picture with damaged EXIF is a picture; its decoder raises whatever it stumbles over
        said = None
    return turns.get(otherwise if said is None else said)


def _scaled(image: Image.Image) -> Image.Image:
    """Grey of 32 bits as 8 bits, from its darkest to its brightest value."""
    low, high = cast("tuple[float, float]", image.getextrema())  # of the one band
    if not high > low:
        return image.convert("L")
    factor = 255 / (high - low)
    return image.point(lambda value: value * factor + -low * factor).convert("L")
