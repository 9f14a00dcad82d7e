"""Read pictures from a benchmark's cells (base64, bytes, files), and join several pictures into one."""

from __future__ import annotations

import base64
import binascii
import io
import os.path
from collections.abc import Sequence
from pathlib import Path

from tasks.benchmarks.choices import parse_literal
from tasks.records.picture import Picture

LONGEST_PATH = 512
"""Longest cell, in characters, that is tried as a path. A picture in base64 is longer."""
CAPTION_HEIGHT = 14
"""Pixels of the caption line above each of several pictures."""
GAP = 8
"""Pixels between two pictures."""


class NoPicture(Exception):
    """The cell holds no picture. The message says what it holds instead."""


def encoded_pictures(cell: object, folder: Path) -> list[bytes]:
    """The encoded pictures of a cell; none if it is empty. NoPicture if it holds anything else.

    A cell is base64 text, bytes, `{"bytes": ..., "path": ...}` (the format of `datasets`), a path relative to `folder`,
    or a list of these, which a TSV writes as Python.
    """
    match cell:
        case None | "":
            return []
        case float() if cell != cell:  # an empty cell of a float column
            return []
        case bytes():
            return [_checked(cell)]
        case {"bytes": bytes(data)}:
            return [_checked(data)]
        case {"path": str(path)}:
            return [_checked(_file(path, folder))]
        case list() | tuple():
            return [picture for part in cell for picture in encoded_pictures(part, folder)]
        case str() if cell.lstrip().startswith("["):
            return _written_list(cell, folder)
        case str():
            return [_checked(_from_text(cell.strip(), folder))]
    raise NoPicture(f"a {type(cell).__name__}")


def _written_list(text: str, folder: Path) -> list[bytes]:
    cells = parse_literal(text)
    if not isinstance(cells, list):
        raise NoPicture("a list that does not end")
    return encoded_pictures(cells, folder)


def _from_text(text: str, folder: Path) -> bytes:
    if len(text) <= LONGEST_PATH and os.path.isfile(folder / text):
        return _file(text, folder)
    try:
        return base64.b64decode(text.partition("base64,")[2] or text, validate=True)
    except (binascii.Error, ValueError):
        raise NoPicture(f"neither base64 nor a file in {folder}") from None


def _file(path: str, folder: Path) -> bytes:
    try:
        return (folder / path).read_bytes()
    except OSError:
        raise NoPicture(f"the name of a file that is not in {folder}") from None


def _checked(data: bytes) -> bytes:
    """The same bytes. NoPicture if their header is no picture's, so that a bad row fails before any work is done."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)):
            return data
    except Exception as error:  # hostile bytes make decoders raise anything
        raise NoPicture(f"bytes of no picture ({type(error).__name__})") from None


def side_by_side(pictures: Sequence[bytes]) -> bytes:
    """Several pictures in a row on white, captioned `image 1`, `image 2`, ... as questions refer to them.

    One picture stays as it is. Engines, prompts and training take one picture a question. A processor scales the row
    down to its own limit, so a model sees each of five pictures at a fifth of the width.
    """
    from PIL import Image, ImageDraw

    if len(pictures) == 1:
        return pictures[0]
    images = [Picture(str(number), data).image for number, data in enumerate(pictures)]
    size = sum(image.width for image in images) + GAP * (len(images) - 1), max(image.height for image in images)
    canvas, left = Image.new("RGB", (size[0], size[1] + CAPTION_HEIGHT), "white"), 0
    for number, image in enumerate(images, 1):
        ImageDraw.Draw(canvas).text((left + 2, 1), f"image {number}", fill="black")
        canvas.paste(image, (left, CAPTION_HEIGHT))
        left += image.width + GAP
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()
