"""Pictures inside a page of one file, as `data:` URLs: re-encoded unless they are small and of a common format."""

from __future__ import annotations

import base64
import io

from tasks.records.picture import Picture

LARGEST = 384
"""Longest side of a shown picture, in pixels; larger ones are scaled down."""


def data_url(picture: Picture) -> str:
    """The picture as a `data:` URL: its original bytes if it is a small PNG, JPEG or WebP, else a smaller JPEG."""
    from PIL import Image

    with Image.open(io.BytesIO(picture.data)) as header:
        kind = Image.MIME.get(header.format or "", "")
        unchanged = max(header.size) <= LARGEST and kind in ("image/png", "image/jpeg", "image/webp")
    if unchanged:
        return _encoded_url(kind, picture.data)
    image, buffer = picture.image.copy(), io.BytesIO()
    image.thumbnail((LARGEST, LARGEST))
    image.save(buffer, "JPEG", quality=85)
    return _encoded_url("image/jpeg", buffer.getvalue())


def _encoded_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
