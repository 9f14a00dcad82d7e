"""Pictures from bytes that nobody vouches for.

A 21 KB PNG can unfold to 169 megapixels and 841 MB, so the size in the header is checked before anything is decoded,
and only formats whose decoders read no other file and run no program are tried.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from tasks.corpora.sample import Sample
from tasks.prompt import upright_rgb

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""Without EPS (runs Ghostscript), PSD, FITS, ICO and the like, whose headers may understate what they unfold to."""

EXTENSIONS = frozenset({"jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm"})
"""Files that are tried as pictures. What they are is then read from their bytes."""


class Limits(BaseModel):
    """What is decoded at all."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    max_pixels: int = Field(default=50_000_000, ge=1, le=89_478_485)
    """Larger pictures are masked, undecoded. The bound is where Pillow suspects a decompression bomb."""
    min_side: int = Field(default=1, ge=1)
    """Pictures with a shorter side, in pixels, are masked."""
    max_bytes: int = Field(default=64 << 20, ge=1)
    """Larger files are masked, unread."""


class Read(NamedTuple):
    """What a corpus gives while it is read: a row, and the picture where the row has no reason against it."""

    sample: Sample
    image: Image.Image | None = None


class BadPicture(Exception):
    """Why the bytes are not a usable picture; the text becomes the row's `reason`."""


def examine(sample: Sample, data: bytes | None, limits: Limits) -> Read:
    """The row completed by what its bytes say: sha256, width and height, or a reason. None: too large to be read."""
    if data is None:
        return Read(sample.model_copy(update={"reason": f"masked: more than {limits.max_bytes} bytes"}))
    known = sample.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})
    try:
        image = decode(data, limits)
    except BadPicture as bad:
        return Read(known.model_copy(update={"reason": str(bad)}))
    return Read(known.model_copy(update={"width": image.width, "height": image.height}), image)


def decode(data: bytes, limits: Limits) -> Image.Image:
    """The picture's first frame, upright, in RGB. BadPicture says why not."""
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise BadPicture("broken: no bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            _check_size(image.size, limits)
            return upright_rgb(image)
    except BadPicture:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise BadPicture(f"masked: more than {limits.max_pixels} pixels") from None
    except UnidentifiedImageError:
        raise BadPicture("broken: not a picture in a known format") from None
    except Exception as error:  # hostile bytes make decoders raise anything: OSError, struct.error, SyntaxError, ...
        raise BadPicture(f"broken: {(str(error) or type(error).__name__)[:120]}") from None


def _check_size(size: tuple[int, int], limits: Limits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise BadPicture(f"masked: {width}x{height} is more than {limits.max_pixels} pixels")
    if min(width, height) < limits.min_side:
        raise BadPicture(f"masked: {width}x{height} has a side of less than {limits.min_side} pixels")
