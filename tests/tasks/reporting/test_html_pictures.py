from __future__ import annotations

import base64
import io

from PIL import Image

from tasks.records.picture import Picture
from tasks.reporting.html_pictures import LARGEST, data_url


def png(side: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), "red").save(buffer, "PNG")
    return buffer.getvalue()


def test_small_pictures_are_unchanged_and_large_ones_shrunk() -> None:
    small = png(8)
    assert data_url(Picture("a", small)) == f"data:image/png;base64,{base64.b64encode(small).decode()}"
    kind, _, data = data_url(Picture("b", png(2 * LARGEST))).partition(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (LARGEST, LARGEST)
