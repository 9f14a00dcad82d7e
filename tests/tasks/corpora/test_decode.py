"""Decoding: upright RGB from any format, mode and orientation."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from tasks.corpora.decode import EncodedSample, Limits, decode_sample
from tasks.corpora.sample import Sample


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def decode(data: bytes, limits: Limits, orientation: int | None = None) -> Image.Image:
    """The picture of a row with these bytes and the metadata's `orientation`. ValueError with the row's reason."""
    decoded = decode_sample(EncodedSample(Sample(key="0/0", shard="0", orientation=orientation), data), limits)
    if decoded.image is None:
        raise ValueError(decoded.sample.reason)
    return decoded.image


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(Image.new("RGB", (40, 20)), "JPEG", exif=exif), Limits()).size == (20, 40)


def test_an_upright_picture_is_not_turned_again_by_its_exif() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = decode(encoded(Image.new("RGB", (40, 20)), "JPEG", exif=exif), Limits())
    assert turned.size == ImageOps.exif_transpose(turned).size == (20, 40)


def test_orientation_from_metadata_applies_if_the_bytes_have_none() -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    plain = Image.new("RGB", (40, 20), "red")
    plain.paste("blue", (0, 0, 8, 20))
    assert decode(encoded(plain, "PNG"), Limits(), 6).getpixel((10, 2)) == (0, 0, 255)
    assert decode(encoded(plain, "PNG", exif=exif), Limits(), 6).getpixel((10, 37)) == (0, 0, 255)


def test_damaged_exif_does_not_make_a_picture_broken() -> None:
    assert decode(
        encoded(Image.new("RGB", (40, 20)), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"), Limits()
    ).size == (40, 20)


def test_transparency_is_laid_on_white() -> None:
    assert decode(encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 0)), "PNG"), Limits()).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    grey = Image.fromarray(np.linspace(0, 65535, 16).reshape(4, 4).astype(np.uint16))
    levels = np.asarray(decode(encoded(grey, "PNG"), Limits()))[..., 0].ravel()
    assert len(set(levels.tolist())) == 16


@pytest.mark.parametrize(("mode", "form"), [("CMYK", "JPEG"), ("L", "PNG"), ("P", "GIF"), ("1", "PNG"), ("LA", "PNG")])
def test_every_mode_becomes_rgb(mode: str, form: str) -> None:
    assert decode(encoded(Image.new(mode, (8, 8)), form), Limits()).mode == "RGB"


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data, Limits()).getpixel((0, 0)) == (255, 0, 0)


def test_formats_that_run_programs_are_not_decoded() -> None:
    with pytest.raises(ValueError, match="known format"):
        decode(encoded(Image.new("RGB", (8, 8)), "EPS"), Limits())


def test_the_pixels_of_a_webp_count_twice() -> None:
    limits = Limits(max_pixels=1500)
    for form, fits in (("PNG", True), ("WEBP", False)):
        data = encoded(Image.new("RGB", (40, 20)), form)
        if fits:
            assert decode(data, limits).size == (40, 20)
        else:
            with pytest.raises(ValueError, match="too large: WEBP of 40x20"):
                decode(data, limits)
