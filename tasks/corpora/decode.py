"""Pictures from bytes that nobody vouches for.

A 21 KB PNG can unfold to 169 megapixels and 841 MB, so the size in the header is checked before anything is decoded,
and only formats whose decoders read no other file and run no program are tried. Pictures are decoded by several
threads (Pillow's decoders free the interpreter), large ones by one at a time, so that memory stays bounded.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import Field

from tasks.corpora.duplicates import phash
from tasks.corpora.sample import Sample
from tasks.records.prompt import upright_rgb
from tasks.settings.base import Settings
from tasks.settings.fingerprint import NotFingerprinted

if TYPE_CHECKING:
    from PIL import Image

    Prepare = Callable[[Image.Image], Image.Image]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""Without EPS (runs Ghostscript), PSD, FITS, ICO and the like, whose headers may understate what they unfold to."""

EXTENSIONS = frozenset({"jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm"})
"""Files that are tried as pictures. What they are is then read from their bytes."""

_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")
_LARGE = 4_000_000
_AHEAD = 32
_BYTES_AHEAD = 64 << 20
_large = threading.Lock()
_CANVASES = {"WEBP": 2}
"""How often a picture's pixels count by its format: WebP's decoder holds two canvases besides the picture."""
_BLOCK = 64 << 20
"""Bytes of Pillow's blocks of pixels. glibc keeps freed memory of up to 32 MB, for each thread its own: with Pillow's
16 MB two threads held 800 MB after pictures of 420 MB."""


class Limits(Settings):
    """What is decoded at all, and how much failure is borne."""

    max_pixels: int = Field(default=37_000_000, ge=1, le=89_478_485)
    """Larger pictures are masked, undecoded; a WebP counts twice, as its decoder holds more. Decoding takes up to 12
    bytes a pixel. The bound is where Pillow suspects a decompression bomb."""
    max_bytes: int = Field(default=64 << 20, ge=1)
    """Larger files are masked, unread."""
    max_failures: Annotated[float, NotFingerprinted] = Field(default=0.5, ge=0, le=1)
    """The build stops where more than this share of the shards is damaged, or of the pictures broken."""


class Raw(NamedTuple):
    """A row so far, and the bytes of its picture: None where there is none, or it is too large to be read."""

    sample: Sample
    data: bytes | None = None
    header: bytes = b""
    """The tar's header block before the picture."""


class Read(NamedTuple):
    """What a corpus gives while it is read: a row, and the picture where the row has no reason against it."""

    sample: Sample
    image: Image.Image | None = None


class BadPicture(Exception):
    """Why the bytes are not a usable picture; the text becomes the row's `reason`."""


def examine_all(raws: Iterable[Raw], limits: Limits, prepare: Prepare | None = None) -> Iterator[Read]:
    """`examine` for each, in order, by as many threads as there are cores and a bounded way ahead of the caller."""
    with ThreadPoolExecutor(_cores()) as pool:
        ahead: deque[tuple[Future[Read], int]] = deque()
        weight = 0
        for raw in raws:
            size = len(raw.data or b"")
            ahead.append((pool.submit(examine, raw, limits, prepare), size))
            weight += size
            while len(ahead) > _AHEAD or weight > _BYTES_AHEAD:
                done, size = ahead.popleft()
                weight -= size
                yield done.result()
        for done, _ in ahead:
            yield done.result()


def examine(raw: Raw, limits: Limits, prepare: Prepare | None = None) -> Read:
    """The row completed by what its bytes say: checks, width and height, or a reason; and the picture, prepared."""
    sample, data = raw.sample, raw.data
    if sample.reason is not None:
        return Read(sample)
    if data is None:
        return Read(_with(sample, reason=f"too large: more than {limits.max_bytes} bytes"))
    known = {"sha256": hashlib.sha256(data).hexdigest(), "check": check_of(raw.header, data)}
    try:
        opened = open_picture(data, limits)
        with _turn(opened.width * opened.height):
            return _looked_at(_with(sample, **known), opened, prepare)
    except BadPicture as bad:
        return Read(_with(sample, **known, reason=str(bad)))


def check_of(header: bytes, data: bytes | memoryview) -> int:
    """XXH3-64 of both, as a signed number."""
    import xxhash

    found = xxhash.xxh3_64(header)
    found.update(data)
    return int.from_bytes(found.digest(), "big", signed=True)


def decode(data: bytes, limits: Limits, orientation: int = 1) -> Image.Image:
    """The picture's first frame, upright, in RGB. `orientation` counts where the bytes say none.

    BadPicture says why not.
    """
    return _decoded(open_picture(data, limits), orientation)


def open_picture(data: bytes, limits: Limits) -> Image.Image:
    """The picture by its header, not decoded yet. BadPicture where it is none, or unfolds to too much."""
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise BadPicture("broken: no bytes")
    _set_up()
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise BadPicture(f"too large: more than {limits.max_pixels} pixels") from None
    except UnidentifiedImageError:
        raise BadPicture("broken: not a picture in a known format") from None
    except Exception as error:
        raise _broken(error) from None
    width, height = image.size
    if width * height * _CANVASES.get(image.format or "", 1) > limits.max_pixels:
        raise BadPicture(f"too large: {image.format} of {width}x{height}, and max_pixels is {limits.max_pixels}")
    return image


def begins_like_a_picture(data: bytes | None) -> bool:
    """Whether the first bytes are those of a format that is tried, whatever the file is called."""
    if not data:
        return False
    webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    bitmap = data[:2] == b"BM" and data[6:10] == bytes(4)  # two letters alone also begin a caption about a BMW
    return data.startswith(_BEGINNINGS) or webp or bitmap


def _looked_at(sample: Sample, opened: Image.Image, prepare: Prepare | None) -> Read:
    image = _decoded(opened, sample.orientation or 1)
    known = {"width": image.width, "height": image.height, "phash": _phash(image)}
    return Read(_with(sample, **known), prepare(image) if prepare else image)


def _decoded(opened: Image.Image, orientation: int) -> Image.Image:
    try:
        return upright_rgb(opened, orientation)
    except Exception as error:
        raise _broken(error) from None
    finally:
        opened.close()


def _broken(error: Exception) -> BadPicture:
    """Hostile bytes make decoders raise anything: OSError, struct.error, SyntaxError, ..."""
    return BadPicture(f"broken: {(str(error) or type(error).__name__)[:120]}")


def _phash(image: Image.Image) -> int:
    """Of the picture shrunk by whole factors first: the same hash at a sixth of the time."""
    small = image.reduce(max(1, min(image.size) // 64))
    return int.from_bytes(phash(small).tobytes(), "big", signed=True)


def _with(sample: Sample, **values: object) -> Sample:
    return sample.model_copy(update=values)


def _turn(pixels: int) -> AbstractContextManager[object]:
    return _large if pixels > _LARGE else nullcontext()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _set_up() -> None:
    """Once for the process. Sizes are checked here, so Pillow need not warn (`catch_warnings` is not safe among
    threads); and large pictures' memory goes back when they go.
    """
    from PIL import Image, _imaging

    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    _imaging.set_block_size(_BLOCK)
