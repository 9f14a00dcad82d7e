from __future__ import annotations

import io
from random import Random

from PIL import Image

from tasks.records.picture import Picture
from tasks.reporting.picture_sheets import ACROSS, PER_SHEET, SIDES, sheets_of


def plain(number: int, size: tuple[int, int], colour: str) -> Picture:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return Picture(f"k{number}", out.getvalue())


def noise(number: int) -> Picture:
    out = io.BytesIO()
    Image.frombytes("RGB", (256, 256), Random(number).randbytes(3 * 256 * 256)).save(out, "PNG")
    return Picture(f"k{number}", out.getvalue())


def test_each_picture_lies_in_its_place_on_its_sheet() -> None:
    colours = ["red", "lime", "blue"]
    sheets = sheets_of([plain(n, (40, 30), colours[n % 3]) for n in range(PER_SHEET + 2)])
    assert (len(sheets.files), sheets.side, set(sheets.sizes)) == (2, 40, {(40, 30)})
    for number in (0, 1, 2, ACROSS, PER_SHEET - 1, PER_SHEET + 1):
        sheet = Image.open(io.BytesIO(sheets.files[f"pictures/{number // PER_SHEET:03d}.webp"]))
        place = number % PER_SHEET
        pixel = sheet.convert("RGB").getpixel((place % ACROSS * 40 + 20, place // ACROSS * 40 + 15))
        strongest = max(range(3), key=lambda band: pixel[band])
        assert strongest == number % 3


def test_a_bad_picture_costs_its_own_place_only() -> None:
    sheets = sheets_of([plain(0, (8, 8), "red"), Picture("bad", b"no picture"), None, plain(3, (8, 8), "red")])
    assert sheets.sizes == ((8, 8), (0, 0), (0, 0), (8, 8))
    assert sheets.problems == {
        1: "the picture cannot be decoded: UnidentifiedImageError",
        2: "the picture cannot be read",
    }


def test_pictures_are_smaller_where_the_budget_is() -> None:
    pictures = [noise(number) for number in range(80)]
    large, small = sheets_of(pictures, budget=10**8), sheets_of(pictures, budget=400_000)
    assert large.side == SIDES[0] > small.side
    assert sum(map(len, small.files.values())) <= 1.2 * 400_000


def test_a_round_without_pictures_has_no_sheets() -> None:
    assert dict(sheets_of([]).files) == {}
    assert sheets_of([Picture("bad", b"")]).sizes == ((0, 0),)
