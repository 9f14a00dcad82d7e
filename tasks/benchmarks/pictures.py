"""Pictures out of a benchmark's cells: base64, bytes, files, and several of them as one."""

from __future__ import annotations

import base64
import binascii
import io
import os.path
from collections.abc import Sequence
from pathlib import Path

from tasks.benchmarks.choices import literal
from tasks.records.prompt import Picture

LONGEST_PATH = 512
"""Characters of a cell that may be a path; a picture in base64 is longer."""
CAPTION = 14
"""Height of the line above each of several pictures, in pixels."""
GAP = 8


class NoPicture(Exception):
    """What the cell holds instead."""


def encoded(cell: object, folder: Path) -> list[bytes]:
    """The encoded pictures of a cell; none if it is empty. Paths are relative to `folder`. NoPicture if it holds else.

    A cell is base64 text, bytes, `{"bytes": ..., "path": ...}` (how `datasets` stores pictures), a path, or a list of
    these, which a TSV writes as Python.
    """
    match cell:
        case None | "":
            return []
        case float() if cell != cell:  # how pandas writes an empty cell
            return []
        case bytes():
            return [_picture(cell)]
        case {"bytes": bytes(data)}:
            return [_picture(data)]
        case {"path": str(path)}:
            return [_picture(_file(path, folder))]
        case list() | tuple():
            return [picture for part in cell for picture in encoded(part, folder)]
        case str() if cell.lstrip().startswith("["):
            return _written_list(cell, folder)
        case str():
            return [_picture(_from_text(cell.strip(), folder))]
    raise NoPicture(f"a {type(cell).__name__}")


def _written_list(text: str, folder: Path) -> list[bytes]:
    cells = literal(text)
    if not isinstance(cells, list):
        raise NoPicture("a list that does not end")
    return encoded(cells, folder)


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


def _picture(data: bytes) -> bytes:
    """The same bytes, once their header has said that they are a picture: better now than in the middle of the work."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)):
            return data
    except Exception as error:  # hostile bytes make decoders raise anything
        raise NoPicture(f"bytes of no picture ({type(error).__name__})") from None


def side_by_side(pictures: Sequence[bytes]) -> bytes:
    """One picture as it is; several in a row on white, under `image 1`, `image 2`, ... as questions refer to them.

    Engines and prompts here take one picture a question, and the models are trained so; a processor scales it down to
    its own limit, so five pictures of a question are seen at a fifth of the width.
    """
    from PIL import Image, ImageDraw

    if len(pictures) == 1:
        return pictures[0]
    images = [Picture(str(number), data).image for number, data in enumerate(pictures)]
    size = sum(image.width for image in images) + GAP * (len(images) - 1), max(image.height for image in images)
    canvas, left = Image.new("RGB", (size[0], size[1] + CAPTION), "white"), 0
    for number, image in enumerate(images, 1):
        ImageDraw.Draw(canvas).text((left + 2, 1), f"image {number}", fill="black")
        canvas.paste(image, (left, CAPTION))
        left += image.width + GAP
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()
