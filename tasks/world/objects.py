"""Families of shapes: plain scenes, counting scenes and visual illusions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tasks.world.canvas import CELL, COLORS, INK, NAMES, SHAPES, Canvas, jitter, polar
from tasks.world.family import (
    Family,
    QuestionTemplate,
    Slots,
    Solution,
    addition,
    fill_each,
    fill_pairs,
    maybe_reversed,
    no_slots,
    shuffled,
    subtraction,
)


@dataclass(frozen=True)
class Thing:
    """A colored shape in one cell of a four by four lattice."""

    color: str
    shape: str
    row: int
    column: int

    def __str__(self) -> str:
        return f"{self.color} {self.shape}"


@dataclass(frozen=True)
class Things:
    """The shapes of a picture, in reading order."""

    items: tuple[Thing, ...]

    @property
    def colors(self) -> list[str]:
        return sorted({item.color for item in self.items})


def _spots(rng: Random, count: int, side: int) -> list[tuple[int, int]]:
    return sorted(rng.sample([(r, c) for r in range(side) for c in range(side)], count))


# Plain scenes -------------------------------------------------------------------------------------------------------


def _plain_facts(rng: Random, level: int) -> Things:
    colors, shapes = rng.sample(NAMES, level), rng.sample(SHAPES, level)
    return Things(tuple(Thing(c, s, *spot) for c, s, spot in zip(colors, shapes, _spots(rng, level, 2), strict=True)))


def _draw_plain(canvas: Canvas, scene: Things, rng: Random) -> None:
    for item in scene.items:
        (dx, dy), side = jitter(rng, 3), 2 * CELL
        x, y = side * (item.column + 0.5) + dx, side * (item.row + 0.5) + dy
        canvas.shape(item.shape, (x, y), rng.uniform(15, 19), COLORS[item.color])


def _listed(scene: Things, rng: Random) -> str:
    return ", ".join(maybe_reversed([str(item) for item in scene.items], rng))


def _about_the_only(
    scene: Things, rng: Random, matching: Callable[[Thing], bool], answer: Callable[[Thing], str]
) -> Solution | None:
    matches = [item for item in scene.items if matching(item)]
    if len(matches) != 1:
        return None
    return Solution(rng.choice([str(matches[0]), _listed(scene, rng)]), answer(matches[0]))


def _color_of(scene: Things, slots: Slots, rng: Random) -> Solution | None:
    return _about_the_only(scene, rng, lambda item: item.shape == slots["shape"], lambda item: item.color)


def _shape_of(scene: Things, slots: Slots, rng: Random) -> Solution | None:
    return _about_the_only(scene, rng, lambda item: item.color == slots["a"], lambda item: item.shape)


def _present(scene: Things, slots: Slots, rng: Random) -> Solution | None:
    if slots["a"] not in NAMES or slots["shape"] not in SHAPES:
        return None
    present = any(str(item) == f"{slots['a']} {slots['shape']}" for item in scene.items)
    return Solution(_listed(scene, rng), "yes" if present else "no")


def _presence_fillings(scene: Things) -> list[Slots]:
    present = [{"a": item.color, "shape": item.shape} for item in scene.items]
    first = scene.items[0]
    other_color, other_shape = (NAMES[(NAMES.index(first.color) + 3) % 8], SHAPES[(SHAPES.index(first.shape) + 2) % 5])
    return [present[0], {"a": first.color, "shape": other_shape}, present[-1], {"a": other_color, "shape": first.shape}]


PLAIN = Family(
    "plain scenes",
    _plain_facts,
    _draw_plain,
    lambda s: [
        "a plain scene",
        f"a plain scene with a {s.items[0]}",
        " and ".join(f"a {item}" for item in s.items),
        f"a plain scene with {len(s.items)} shapes",
    ],
    (
        QuestionTemplate(
            "what color is the {shape}?",
            "short_answer",
            lambda s: fill_each("shape", [item.shape for item in s.items]),
            _color_of,
        ),
        QuestionTemplate(
            "what shape is {a}?", "short_answer", lambda s: fill_each("a", [item.color for item in s.items]), _shape_of
        ),
        QuestionTemplate("is there a {a} {shape}?", "short_answer", _presence_fillings, _present),
    ),
)

# Counting -----------------------------------------------------------------------------------------------------------


def _count_facts(rng: Random, level: int) -> Things:
    count, palette = rng.randint(2, (4, 7, 10)[level - 1]), rng.sample(NAMES, 2 if level < 3 else 3)
    shape = rng.choice(SHAPES)
    return Things(tuple(Thing(rng.choice(palette), shape, *spot) for spot in _spots(rng, count, 4)))


def _draw_count(canvas: Canvas, scene: Things, rng: Random) -> None:
    for item in scene.items:
        dx, dy = jitter(rng)
        x, y = CELL * (item.column + 0.5) + dx, CELL * (item.row + 0.5) + dy
        canvas.shape(item.shape, (x, y), rng.uniform(9, 11), COLORS[item.color])


def _count(scene: Things, color: str) -> int:
    return sum(item.color == color for item in scene.items)


def _halves(scene: Things, rng: Random, color: str | None) -> list[int]:
    items = [item for item in scene.items if color in (None, item.color)]
    by_rows = rng.random() < 0.5
    first = sum((item.row if by_rows else item.column) < 2 for item in items)
    return [first, len(items) - first]


def _how_many(scene: Things, slots: Slots, rng: Random) -> Solution | None:
    if slots["a"] not in NAMES:
        return None
    color, count = slots["a"], _count(scene, slots["a"])
    ways = [f"{color} {count}", f"halves {addition(_halves(scene, rng, color))}"]
    return Solution(rng.choice(ways), str(count))


def _in_all(scene: Things, slots: Slots, rng: Random) -> Solution:
    colors = shuffled(scene.colors, rng)
    counts = [_count(scene, color) for color in colors]
    named = ", ".join(f"{color} {count}" for color, count in zip(colors, counts, strict=True))
    ways = [f"{named}, {addition(counts)}", f"halves {addition(_halves(scene, rng, None))}"]
    return Solution(rng.choice(ways), str(len(scene.items)))


def _count_gap(scene: Things, slots: Slots, rng: Random) -> Solution | None:
    names = [slots["a"], slots["b"]]
    if len(set(names)) < 2 or not all(name in scene.colors for name in names):
        return None
    names = shuffled(names, rng)
    a, b = (_count(scene, name) for name in names)
    return Solution(f"{names[0]} {a}, {names[1]} {b}, {subtraction(a, b)}", str(abs(a - b)))


COUNTING = Family(
    "counting",
    _count_facts,
    _draw_count,
    lambda s: [
        "scattered shapes to count",
        f"{len(s.items)} scattered {s.items[0].shape} shapes",
        f"{' and '.join(s.colors)} scattered shapes to count",
        f"{len(s.items)} scattered {' and '.join(s.colors)} {s.items[0].shape} shapes",
    ],
    (
        QuestionTemplate(
            "how many {a} shapes are there?", "numeric_value", lambda s: fill_each("a", s.colors), _how_many
        ),
        QuestionTemplate("how many shapes are there in all?", "numeric_value", no_slots, _in_all),
        QuestionTemplate(
            "how many shapes apart are {a} and {b}?", "numeric_value", lambda s: fill_pairs(s.colors), _count_gap
        ),
    ),
)

# Visual illusions ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arrows:
    """Two lines with fins that point in or out (the Mueller-Lyer illusion); lengths in pixels."""

    top: int
    bottom: int
    top_out: bool
    bottom_out: bool
    color: str


def _arrow_facts(rng: Random, level: int) -> Arrows:
    length, difference = rng.randint(44, 58), rng.choice((0, -1, 1)) * (16, 10, 6)[level - 1]
    return Arrows(length, length + difference, rng.random() < 0.5, rng.random() < 0.5, rng.choice(NAMES))


def _draw_arrows(canvas: Canvas, arrows: Arrows, rng: Random) -> None:
    for length, out, y in ((arrows.top, arrows.top_out, 1.5 * CELL), (arrows.bottom, arrows.bottom_out, 3 * CELL)):
        dx, dy = jitter(rng)
        middle = (56 + dx, y + dy)
        for side in (-1, 1):
            tip = (middle[0] + side * length / 2, middle[1])
            canvas.line([middle, tip], COLORS[arrows.color], 1.8)
            for angle in (45, 135):
                turn = angle if (side == 1) == out else -angle
                canvas.line([tip, polar(tip, 12, turn)], INK, 1.4)


def _longer(arrows: Arrows, slots: Slots, rng: Random) -> Solution:
    answer = "top" if arrows.top > arrows.bottom else "bottom" if arrows.bottom > arrows.top else "same"
    parts = maybe_reversed([f"top {arrows.top // 4}", f"bottom {arrows.bottom // 4}"], rng)
    return Solution(rng.choice([", ".join(parts), f"{answer}"]), answer)


def _fins(arrows: Arrows, slots: Slots, rng: Random) -> Solution | None:
    if slots["side"] not in ("top", "bottom"):
        return None
    out = arrows.top_out if slots["side"] == "top" else arrows.bottom_out
    parts = maybe_reversed([f"top {_word(arrows.top_out)}", f"bottom {_word(arrows.bottom_out)}"], rng)
    return Solution(rng.choice([", ".join(parts), f"{slots['side']} {_word(out)}"]), _word(out))


def _word(out: bool) -> str:
    return "out" if out else "in"


ILLUSIONS = Family(
    "illusions",
    _arrow_facts,
    _draw_arrows,
    lambda a: [
        "an illusion with two lines",
        f"an illusion with two {a.color} lines",
        f"an illusion, fins {_word(a.top_out)} and {_word(a.bottom_out)}",
        f"an illusion with two {a.color} lines, fins {_word(a.top_out)} and {_word(a.bottom_out)}",
    ],
    (
        QuestionTemplate("which line is longer?", "short_answer", no_slots, _longer),
        QuestionTemplate(
            "do the fins of the {side} line point in or out?",
            "short_answer",
            lambda a: fill_each("side", ("top", "bottom")),
            _fins,
        ),
    ),
)
