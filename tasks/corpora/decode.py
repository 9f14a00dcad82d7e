"""Decoding of pictures from untrusted bytes.

A PNG of 21 KB can unfold to 169 megapixels and 841 MB, so the size in the header is checked before anything is decoded.
Only formats are tried whose decoders read no other file and run no program. Several threads decode (Pillow's decoders
release the interpreter lock), but only one large picture at a time, so that memory stays bounded.
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

from tasks.corpora.copy_detection import phash
from tasks.corpora.sample import Sample
from tasks.records.picture import upright_rgb
from tasks.settings.base import Settings
from tasks.settings.fingerprint import NotFingerprinted

if TYPE_CHECKING:
    from PIL import Image

    Transform = Callable[[Image.Image], Image.Image]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""Formats that are decoded. EPS is left out because it runs Ghostscript; PSD, FITS, ICO and others because their
headers may understate the size of the picture."""

EXTENSIONS = frozenset({"jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm"})
"""Extensions of files that are tried as pictures. The bytes then decide the format."""

WIDEST = 200
"""Largest ratio of the longer to the shorter side that is decoded. Qwen's processor refuses more, and a CLIP that
scales the shorter side to 224 pixels would make gigabytes of a line of one pixel."""
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")
_LARGE = 4_000_000
"""Pixels above which only one picture is decoded at a time."""
_QUEUED = 32
_QUEUED_BYTES = 64 << 20
"""Most pictures, and most of their encoded bytes, that wait between the reader and the consumer."""
_large_picture = threading.Lock()
_MEMORY_FACTOR = {"WEBP": 2}
"""How often a format's pixels count: WebP's decoder holds two canvases besides the picture."""
_BLOCK = 64 << 20
"""Bytes of one block of Pillow's pixel memory. glibc keeps freed memory of up to 32 MB for each thread: with Pillow's
default of 16 MB two threads still held 800 MB after pictures of 420 MB."""


class Limits(Settings):
    """Largest pictures that are decoded, and the share of failures at which a build stops."""

    max_pixels: int = Field(default=37_000_000, ge=1, le=89_478_485)
    """Larger pictures are not decoded. A WebP counts twice, because its decoder needs more memory. Decoding takes up to
    12 bytes a pixel. The upper bound is the size at which Pillow suspects a decompression bomb."""
    max_bytes: int = Field(default=64 << 20, ge=1)
    """Larger files are not read."""
    max_failures: Annotated[float, NotFingerprinted] = Field(default=0.5, ge=0, le=1)
    """The build stops if more than this share of the shards is damaged, or of the pictures broken."""


class EncodedSample(NamedTuple):
    """A row before decoding, and the encoded bytes of its picture."""

    sample: Sample
    data: bytes | None = None
    """None if there is no picture, or if it is too large to be read."""
    header: bytes = b""
    """The tar header block before the picture."""


class DecodedSample(NamedTuple):
    """A row after decoding, and its picture. A row with a reason has no picture."""

    sample: Sample
    image: Image.Image | None = None


class BadPicture(Exception):
    """The bytes are not a usable picture. The message becomes the row's `reason`."""


def decode_samples(
    encoded: Iterable[EncodedSample], limits: Limits, transform: Transform | None = None
) -> Iterator[DecodedSample]:
    """Apply `decode_sample` to each, in order, on one thread a core, a bounded number ahead of the consumer."""
    with ThreadPoolExecutor(_cores()) as pool:
        queue: deque[tuple[Future[DecodedSample], int]] = deque()
        queued_bytes = 0
        for sample in encoded:
            size = len(sample.data or b"")
            queue.append((pool.submit(decode_sample, sample, limits, transform), size))
            queued_bytes += size
            while len(queue) > _QUEUED or queued_bytes > _QUEUED_BYTES:
                future, size = queue.popleft()
                queued_bytes -= size
                yield future.result()
        for future, _ in queue:
            yield future.result()


def decode_sample(encoded: EncodedSample, limits: Limits, transform: Transform | None = None) -> DecodedSample:
    """The row with checksums, width, height and perceptual hash, or with a reason; and the transformed picture."""
    sample, data = encoded.sample, encoded.data
    if sample.reason is not None:
        return DecodedSample(sample)
    if data is None:
        return DecodedSample(_with(sample, reason=f"too large: more than {limits.max_bytes} bytes"))
    sums = {"sha256": hashlib.sha256(data).hexdigest(), "checksum": checksum_of(encoded.header, data)}
    try:
        opened = open_picture(data, limits)
        with _memory_slot(opened.width * opened.height):
            return _decoded_sample(_with(sample, **sums), opened, transform)
    except BadPicture as bad:
        return DecodedSample(_with(sample, **sums, reason=str(bad)))
    except Exception as error:  # of the embedder's transform, too: one picture costs one row
        return DecodedSample(_with(sample, **sums, reason=str(_broken(error))))


def checksum_of(header: bytes, data: bytes | memoryview) -> int:
    """XXH3-64 of the tar header and the picture's bytes, as a signed number."""
    import xxhash

    hashed = xxhash.xxh3_64(header)
    hashed.update(data)
    return int.from_bytes(hashed.digest(), "big", signed=True)


def open_picture(data: bytes, limits: Limits) -> Image.Image:
    """The picture with its header read and its pixels not decoded. BadPicture if it is no picture or too large."""
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise BadPicture("broken: no bytes")
    _configure_pillow()
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise BadPicture(f"too large: more than {limits.max_pixels} pixels") from None
    except UnidentifiedImageError:
        raise BadPicture("broken: not a picture in a known format") from None
    except Exception as error:
        raise _broken(error) from None
    width, height = image.size
    if max(width, height) > WIDEST * min(width, height):
        raise BadPicture(f"too narrow: {width}x{height}")
    if width * height * _MEMORY_FACTOR.get(image.format or "", 1) > limits.max_pixels:
        raise BadPicture(f"too large: {image.format} of {width}x{height}, and max_pixels is {limits.max_pixels}")
    return image


def has_picture_signature(data: bytes | None) -> bool:
    """Whether the first bytes are those of a decodable format, whatever the file is called."""
    if not data:
        return False
    webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    bitmap = data[:2] == b"BM" and data[6:10] == bytes(4)  # two letters alone also begin a caption about a BMW
    return data.startswith(_SIGNATURES) or webp or bitmap


def _decoded_sample(sample: Sample, opened: Image.Image, transform: Transform | None) -> DecodedSample:
    image = _decoded(opened, sample.orientation or 1)
    known = {"width": image.width, "height": image.height, "phash": _phash(image)}
    return DecodedSample(_with(sample, **known), transform(image) if transform else image)


def _decoded(opened: Image.Image, orientation: int) -> Image.Image:
    """The first frame, upright, in RGB. `orientation` (EXIF, 1..8) applies if the bytes have none."""
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
    """The hash of the picture shrunk by a whole factor first: equal bits in a sixth of the time."""
    small = image.reduce(max(1, min(image.size) // 64))
    return int.from_bytes(phash(small).tobytes(), "big", signed=True)


def _with(sample: Sample, **values: object) -> Sample:
    return sample.model_copy(update=values)


def _memory_slot(pixels: int) -> AbstractContextManager[object]:
    return _large_picture if pixels > _LARGE else nullcontext()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _configure_pillow() -> None:
    """Set once for the process: no warnings about large pictures, and memory of large pictures is returned.

    `open_picture` checks sizes itself; `warnings.catch_warnings` would not be safe among threads.
    """
    from PIL import Image, _imaging

    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    _imaging.set_block_size(_BLOCK)
