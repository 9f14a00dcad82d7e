"""An encoded picture, and its one conversion to RGB."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from PIL import Image


PORTABLE = ("image/png", "image/jpeg", "image/webp")


@dataclass(frozen=True)
class Picture:
    """An encoded picture and its key. Equality and hashing are by key."""

    key: str
    stored: bytes | Callable[[], bytes] = field(repr=False, compare=False)
    """The encoded bytes, or what reads them from where they lie."""
    orientation: int = field(default=1, repr=False, compare=False)
    """EXIF orientation 1..8, used where the bytes hold none."""

    def __reduce__(self) -> Any:
        """Pickled with its bytes: another process may not reach where they lie."""
        return Picture, (self.key, self.data, self.orientation)

    @property
    def data(self) -> bytes:
        """The encoded bytes, read now where they lie elsewhere."""
        return self.stored if isinstance(self.stored, bytes) else self.stored()

    @property
    def portable(self) -> tuple[str, bytes]:
        """Media type and bytes that every browser reads: the original ones of a PNG, JPEG or WebP, else a new PNG."""
        from PIL import Image

        data = self.data
        with Image.open(io.BytesIO(data)) as header:
            kind = Image.MIME.get(header.format or "", "")
        if kind in PORTABLE:
            return kind, data
        out = io.BytesIO()
        self.image.save(out, "PNG")
        return "image/png", out.getvalue()

    @property
    def pixels(self) -> int:
        """Width times height, by the header."""
        from PIL import Image

        with Image.open(io.BytesIO(self.data)) as image:
            return image.width * image.height

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as a person sees it, by the header."""
        from PIL import Image
        from PIL.Image import Transpose

        with Image.open(io.BytesIO(self.data)) as image:
            turn, (width, height) = _turn(image, self.orientation), image.size
        sideways = (Transpose.ROTATE_90, Transpose.ROTATE_270, Transpose.TRANSPOSE, Transpose.TRANSVERSE)
        return (height, width) if turn in sideways else (width, height)

    @property
    def image(self) -> Image.Image:
        """The picture decoded now: first frame, upright, RGB. Not kept: 10 000 of a megapixel are 30 GB."""
        from PIL import Image

        return upright_rgb(Image.open(io.BytesIO(self.data)), self.orientation)


def upright_rgb(image: Image.Image, orientation: int = 1) -> Image.Image:
    """8-bit RGB as a person sees it: EXIF orientation applied, transparency on white, deep grey scaled, not clipped.

    Embedding and generation share this conversion, so that a picture is found by what the model sees.
    `orientation` is used where the picture's bytes hold none.
    """
    turn = _turn(image, orientation)
    turned = image if turn is None else image.transpose(turn)
    rgb = turned if turn is not None and turned.mode == "RGB" else _rgb(turned)
    rgb.info.clear()  # else a later reader would apply the EXIF orientation again
    return rgb


def _rgb(image: Image.Image) -> Image.Image:
    """A new picture in RGB, with as few copies as possible: pictures are large."""
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


def _turn(image: Image.Image, default: int) -> Image.Transpose | None:
    """The operation that undoes the EXIF orientation; None where there is nothing to undo."""
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
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # a picture with damaged EXIF is still a picture; the EXIF reader may raise anything
        orientation = None
    return turns.get(default if orientation is None else orientation)


def _scaled(image: Image.Image) -> Image.Image:
    """32-bit grey as 8-bit grey: the darkest value becomes 0, the brightest 255."""
    low, high = cast("tuple[float, float]", image.getextrema())  # of the one band
    if not high > low:
        return image.convert("L")
    factor = 255 / (high - low)
    return image.point(lambda value: value * factor + -low * factor).convert("L")
