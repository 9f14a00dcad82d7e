"""The micro world's antialiased canvas and palette. Coordinates are picture pixels, 0..112."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from random import Random

from PIL import Image, ImageDraw, ImageFont

SIZE = 112
_SCALE = 2
"""Pictures are drawn at twice their size and then reduced, so that thin needles and slopes stay readable."""

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "blue": (40, 90, 214),
    "green": (40, 160, 70),
    "yellow": (238, 200, 30),
    "purple": (140, 60, 180),
    "orange": (245, 130, 30),
    "black": (25, 25, 25),
    "pink": (245, 150, 190),
}
NAMES = tuple(COLORS)
SHAPES = ("circle", "square", "triangle", "star", "cross")
INK = (40, 40, 40)

CELL = 28
"""Layouts keep to a lattice of 28 pixels, one visual token of the shipped tiny model. Each part of a picture then falls
into a token of its own, and the model learns to read from tens of thousands of pictures instead of millions."""

Point = tuple[float, float]
Color = tuple[int, int, int]


def paper(rng: Random) -> Color:
    """A light background color, drawn by lot."""
    return (rng.randint(232, 255), rng.randint(232, 255), rng.randint(232, 255))


def jitter(rng: Random, reach: float = 1.0) -> Point:
    """A random shift of at most `reach` pixels in x and y, so that no two pictures are the same."""
    return rng.uniform(-reach, reach), rng.uniform(-reach, reach)


def polar(center: Point, radius: float, degrees: float) -> Point:
    """The point at `radius` from `center`; 0 degrees points up, and degrees grow clockwise, as on a clock."""
    angle = math.radians(degrees)
    return center[0] + radius * math.sin(angle), center[1] - radius * math.cos(angle)


class Canvas:
    """A picture that a family draws on."""

    def __init__(self, background: Color) -> None:
        self._image = Image.new("RGB", (SIZE * _SCALE, SIZE * _SCALE), background)
        self._draw = ImageDraw.Draw(self._image)

    def image(self) -> Image.Image:
        """The picture: RGB, 112 x 112."""
        return self._image.reduce(_SCALE)

    def line(self, points: Sequence[Point], color: Color = INK, width: float = 1.0) -> None:
        self._draw.line([_scaled(point) for point in points], fill=color, width=round(width * _SCALE), joint="curve")

    def box(
        self, left: float, top: float, right: float, bottom: float, color: Color | None, edge: Color | None = None
    ) -> None:
        self._draw.rectangle([_scaled((left, top)), _scaled((right, bottom))], fill=color, outline=edge, width=_SCALE)

    def disc(
        self, center: Point, radius: float, color: Color | None, edge: Color | None = None, width: float = 1.0
    ) -> None:
        x, y = center
        corners = [_scaled((x - radius, y - radius)), _scaled((x + radius, y + radius))]
        self._draw.ellipse(corners, fill=color, outline=edge, width=round(width * _SCALE))

    def wedge(self, center: Point, radius: float, start: float, end: float, color: Color) -> None:
        """A sector from `start` to `end` degrees, clockwise from the top."""
        x, y = center
        corners = [_scaled((x - radius, y - radius)), _scaled((x + radius, y + radius))]
        self._draw.pieslice(corners, start - 90, end - 90, fill=color, outline=(255, 255, 255), width=_SCALE)

    def polygon(self, points: Sequence[Point], color: Color) -> None:
        self._draw.polygon([_scaled(point) for point in points], fill=color)

    def text(self, center: Point, text: str, size: int = 11, color: Color = INK) -> None:
        self._draw.text(_scaled(center), text, fill=color, font=_font(size * _SCALE), anchor="mm")

    def shape(self, name: str, center: Point, radius: float, color: Color) -> None:
        """One of `SHAPES`, inscribed in a circle of `radius`."""
        x, y = center
        if name == "circle":
            self.disc(center, radius, color)
        elif name == "square":
            side = radius * 0.88
            self.box(x - side, y - side, x + side, y + side, color)
        elif name == "triangle":
            self.polygon([polar(center, radius * 1.1, angle) for angle in (0, 120, 240)], color)
        elif name == "star":
            self.polygon([polar(center, radius * (1.15 if i % 2 == 0 else 0.5), i * 36) for i in range(10)], color)
        else:
            arm = radius * 0.32
            self.box(x - radius, y - arm, x + radius, y + arm, color)
            self.box(x - arm, y - radius, x + arm, y + radius, color)


def _scaled(point: Point) -> Point:
    return point[0] * _SCALE, point[1] * _SCALE


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
