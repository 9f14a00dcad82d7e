"""Small pictures on sheets: many on one WebP, so that a page of thousands of pictures has few files.

A picture of the open web may be large, damaged or hostile. It is decoded once, scaled down and encoded again; one that
cannot be decoded leaves an empty place on its sheet, with the reason.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tasks.records.picture import Picture

if TYPE_CHECKING:
    from PIL import Image

ACROSS = 8
"""Pictures in a row of a sheet; a sheet has as many rows."""
PER_SHEET = ACROSS * ACROSS
SIDES = (192, 160, 128, 96, 64)
"""Longest sides of a picture in pixels, the largest first: the first one that keeps the budget is used."""
QUALITY = 78
"""Of WebP: at 128 pixels a photograph has about 3 kB, and a drawing of the micro world is read without loss."""
BUDGET = 24_000_000
"""Bytes of all sheets together, as estimated from a sample. The data of 30 000 questions take 10 MB beside them."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sheets:
    """Pictures on sheets. Picture n is on sheet n // 64, in place n % 64, row by row."""

    side: int
    """Width and height of a place, in pixels."""
    files: Mapping[str, bytes] = field(repr=False)
    """The encoded sheets by name."""
    sizes: tuple[tuple[int, int], ...]
    """Width and height of each picture in its place, from the place's upper left corner; (0, 0) for an empty place."""
    problems: Mapping[int, str]
    """Why a place is empty, by the picture's number."""


def sheets_of(pictures: Sequence[Picture | None], budget: int = BUDGET) -> Sheets:
    """The pictures on sheets, in their order. None leaves an empty place."""
    side = _side(pictures, budget)
    files, sizes, problems = dict[str, bytes](), list[tuple[int, int]](), dict[int, str]()
    for number, start in enumerate(range(0, len(pictures), PER_SHEET)):
        small = [_shrunk(picture, side) for picture in pictures[start : start + PER_SHEET]]
        problems |= {start + place: each for place, each in enumerate(small) if isinstance(each, str)}
        sizes += [(0, 0) if isinstance(each, str) else each.size for each in small]
        files[f"pictures/{number:03d}.webp"] = _sheet(small, side)
    return Sheets(side, files, tuple(sizes), problems)


def _side(pictures: Sequence[Picture | None], budget: int) -> int:
    """The largest side at which the sheets keep the budget, by one sheet of pictures from all over the round.

    No larger than the sample's largest picture: a place is not wider than what it holds.
    """
    sample = list(pictures[:: max(1, len(pictures) // PER_SHEET)][:PER_SHEET])
    allowed = budget * len(sample) / max(1, len(pictures))
    whole = [_shrunk(picture, SIDES[0]) for picture in sample]
    largest = max((max(each.size) for each in whole if not isinstance(each, str)), default=SIDES[-1])
    sides = dict.fromkeys(min(side, largest) for side in SIDES)
    fitting = (side for side in sides if len(_sheet([_shrunk(picture, side) for picture in sample], side)) <= allowed)
    return next(fitting, min(SIDES[-1], largest))


def _shrunk(picture: Picture | None, side: int) -> Image.Image | str:
    """The picture in RGB, at most `side` wide and high; or why there is none."""
    if picture is None:
        return "the picture cannot be read"
    try:
        image = picture.image.copy()
        image.thumbnail((side, side))
    except Exception as error:  # decoders raise anything; one bad picture costs one place
        log.warning("picture %s is not shown: %s", picture.key, error)
        return f"the picture cannot be decoded: {type(error).__name__}"
    return image


def _sheet(pictures: Sequence[Image.Image | str], side: int) -> bytes:
    from PIL import Image

    rows = -(-len(pictures) // ACROSS)
    sheet, out = Image.new("RGB", (ACROSS * side, max(1, rows) * side), "white"), io.BytesIO()
    for place, picture in enumerate(pictures):
        if not isinstance(picture, str):
            sheet.paste(picture, (place % ACROSS * side, place // ACROSS * side))
    sheet.save(out, "WEBP", quality=QUALITY, method=4)
    return out.getvalue()
