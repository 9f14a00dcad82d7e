"""Families whose pictures are read cell by cell: color grids, digit tables, maps and Venn diagrams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tasks.world.canvas import CELL, COLORS, INK, NAMES, Canvas, Point, jitter
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
    subtraction,
)

# Color grids --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Grid:
    """Square rows of named colors."""

    rows: tuple[tuple[str, ...], ...]

    @property
    def columns(self) -> tuple[tuple[str, ...], ...]:
        return tuple(zip(*self.rows, strict=True))

    @property
    def colors(self) -> list[str]:
        return sorted({cell for row in self.rows for cell in row})


def _grid_facts(rng: Random, level: int) -> Grid:
    side, palette = level + 1, rng.sample(NAMES, 2 if level == 1 else 3)
    return Grid(tuple(tuple(rng.choice(palette) for _ in range(side)) for _ in range(side)))


def _draw_grid(canvas: Canvas, grid: Grid, rng: Random) -> None:
    side = len(grid.rows)
    width = 2 * CELL if side == 2 else CELL
    left, top = jitter(rng)
    for r, row in enumerate(grid.rows):
        for c, name in enumerate(row):
            x, y = left + c * width, top + r * width
            canvas.box(x, y, x + width - 1, y + width - 1, COLORS[name], INK)


def _cells_of(grid: Grid, slots: Slots, rng: Random) -> Solution | None:
    if slots["a"] not in NAMES:
        return None
    by_rows = rng.random() < 0.5
    lines = grid.rows if by_rows else grid.columns
    counts = [line.count(slots["a"]) for line in lines]
    return Solution(f"{'rows' if by_rows else 'columns'} {addition(counts)}", str(sum(counts)))


def _cell(grid: Grid, slots: Slots, rng: Random) -> Solution | None:
    place = _indices(slots, len(grid.rows))
    if place is None:
        return None
    r, c = place
    line = (grid.rows[r], grid.columns[c])[rng.randint(0, 1)]
    return Solution(", ".join(line), grid.rows[r][c])


def _most(grid: Grid, slots: Slots, rng: Random) -> Solution | None:
    counts = Counter(cell for row in grid.rows for cell in row).most_common()
    if len(counts) > 1 and counts[0][1] == counts[1][1]:
        return None
    listed = maybe_reversed([f"{name} {count}" for name, count in sorted(counts)], rng)
    return Solution(", ".join(listed), counts[0][0])


def _indices(slots: Slots, side: int) -> tuple[int, int] | None:
    if not (slots["r"].isdigit() and slots["c"].isdigit()):
        return None
    r, c = int(slots["r"]), int(slots["c"])
    return (r - 1, c - 1) if 1 <= r <= side and 1 <= c <= side else None


def _places(side: int) -> list[Slots]:
    return [{"r": str(r), "c": str(c)} for r in range(1, side + 1) for c in range(1, side + 1)]


GRIDS = Family(
    "color grids",
    _grid_facts,
    _draw_grid,
    lambda g: [
        "a color grid",
        f"a color grid with {len(g.rows)} rows",
        f"a {' and '.join(g.colors[:2])} color grid",
        f"a color grid with {len(g.rows)} rows, {', '.join(g.colors)}",
    ],
    (
        QuestionTemplate(
            "how many {a} cells are there?", "numeric_value", lambda g: fill_each("a", g.colors), _cells_of
        ),
        QuestionTemplate("what color is row {r} column {c}?", "short_answer", lambda g: _places(len(g.rows)), _cell),
        QuestionTemplate(
            "which color fills the most cells?",
            "short_answer",
            lambda g: no_slots(g) if _most(g, {}, Random(0)) else [],
            _most,
        ),
    ),
)

# Digit tables -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DigitTable:
    """Square rows of digits."""

    rows: tuple[tuple[int, ...], ...]

    @property
    def columns(self) -> tuple[tuple[int, ...], ...]:
        return tuple(zip(*self.rows, strict=True))


def _table_facts(rng: Random, level: int) -> DigitTable:
    side, top = (2, 3, 3)[level - 1], (5, 5, 9)[level - 1]
    return DigitTable(tuple(tuple(rng.randint(0, top) for _ in range(side)) for _ in range(side)))


def _draw_table(canvas: Canvas, table: DigitTable, rng: Random) -> None:
    side = len(table.rows)
    width = 2 * CELL if side == 2 else CELL
    (left, top), ink = jitter(rng), COLORS[rng.choice(("black", "blue", "red"))]
    end = side * width
    for i in range(side + 1):
        canvas.line([(left, top + i * width), (left + end, top + i * width)], INK, 0.8)
        canvas.line([(left + i * width, top), (left + i * width, top + end)], INK, 0.8)
    for r, row in enumerate(table.rows):
        for c, digit in enumerate(row):
            canvas.text((left + (c + 0.5) * width, top + (r + 0.5) * width), str(digit), 22 if side == 3 else 30, ink)


def _line_sum(table: DigitTable, slots: Slots, rng: Random) -> Solution | None:
    lines = {"row": table.rows, "column": table.columns}.get(slots["line"])
    if lines is None or not slots["i"].isdigit() or not 1 <= int(slots["i"]) <= len(lines):
        return None
    values = list(lines[int(slots["i"]) - 1])
    if rng.random() < 0.5:
        values.reverse()
    return Solution(addition(values), str(sum(values)))


def _digit(table: DigitTable, slots: Slots, rng: Random) -> Solution | None:
    place = _indices(slots, len(table.rows))
    if place is None:
        return None
    r, c = place
    line = (table.rows[r], table.columns[c])[rng.randint(0, 1)]
    return Solution(", ".join(map(str, line)), str(table.rows[r][c]))


def _largest_digit(table: DigitTable, slots: Slots, rng: Random) -> Solution:
    by_rows = rng.random() < 0.5
    tops = [max(line) for line in (table.rows if by_rows else table.columns)]
    return Solution(f"{'rows' if by_rows else 'columns'} {', '.join(map(str, tops))}", str(max(tops)))


def _table_sum(table: DigitTable, slots: Slots, rng: Random) -> Solution:
    by_rows = rng.random() < 0.5
    sums = [sum(line) for line in (table.rows if by_rows else table.columns)]
    return Solution(f"{'rows' if by_rows else 'columns'} {addition(sums)}", str(sum(sums)))


TABLES = Family(
    "digit tables",
    _table_facts,
    _draw_table,
    lambda t: [
        "a table of digits",
        f"a table of digits with {len(t.rows)} rows",
        f"a table of digits, the first is {t.rows[0][0]}",
        f"a table of digits with {', '.join(map(str, t.rows[0]))} on top",
    ],
    (
        QuestionTemplate(
            "what is the sum of {line} {i}?",
            "numeric_value",
            lambda t: [{"line": line, "i": str(i + 1)} for line in ("row", "column") for i in range(len(t.rows))],
            _line_sum,
        ),
        QuestionTemplate(
            "what digit is in row {r} column {c}?", "numeric_value", lambda t: _places(len(t.rows)), _digit
        ),
        QuestionTemplate("what is the largest digit?", "numeric_value", no_slots, _largest_digit),
        QuestionTemplate("what is the sum of all digits?", "numeric_value", no_slots, _table_sum),
    ),
)

# Maps ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Map:
    """Houses on the crossings of a square street grid; row 0 is the north."""

    side: int
    houses: tuple[tuple[str, int, int], ...]

    def place(self, name: str) -> tuple[int, int] | None:
        return {house: (row, column) for house, row, column in self.houses}.get(name)

    @property
    def names(self) -> list[str]:
        return [name for name, _, _ in self.houses]


def _map_facts(rng: Random, level: int) -> Map:
    side, count = level + 1, level + 1
    spots = rng.sample([(r, c) for r in range(side) for c in range(side)], count)
    return Map(side, tuple((name, r, c) for name, (r, c) in zip(rng.sample(NAMES, count), spots, strict=True)))


def _draw_map(canvas: Canvas, town: Map, rng: Random) -> None:
    (dx, dy), end = jitter(rng), CELL * (town.side - 1)
    width, left, top = CELL, CELL / 2 + dx, CELL / 2 + dy
    for i in range(town.side):
        canvas.line([(left + i * width, top), (left + i * width, top + end)], (150, 150, 150), 2.0)
        canvas.line([(left, top + i * width), (left + end, top + i * width)], (150, 150, 150), 2.0)
    for name, r, c in town.houses:
        x, y = left + c * width, top + r * width
        canvas.box(x - 6, y - 3, x + 6, y + 8, COLORS[name])
        canvas.polygon([(x - 8, y - 3), (x + 8, y - 3), (x, y - 11)], COLORS[name])


def _walk(town: Map, slots: Slots, rng: Random) -> Solution | None:
    a, b = town.place(slots["a"]), town.place(slots["b"])
    if a is None or b is None or a == b:
        return None
    down, across = abs(a[0] - b[0]), abs(a[1] - b[1])
    ways = [
        f"down {down}, across {across}, {addition((down, across))}",
        f"across {across}, down {down}, {addition((across, down))}",
    ]
    return Solution(rng.choice(ways), str(down + across))


def _north(town: Map, slots: Slots, rng: Random) -> Solution | None:
    best = min(row for _, row, _ in town.houses)
    winners = [name for name, row, _ in town.houses if row == best]
    if len(winners) > 1:
        return None
    return Solution(", ".join(maybe_reversed([f"{name} {row + 1}" for name, row, _ in town.houses], rng)), winners[0])


MAPS = Family(
    "maps",
    _map_facts,
    _draw_map,
    lambda m: [
        "a street map",
        f"a street map with {len(m.houses)} houses",
        f"a street map with a {m.names[0]} house and a {m.names[1]} house",
        f"a street map with {m.side} streets and {len(m.houses)} houses",
    ],
    (
        QuestionTemplate(
            "how many blocks is it from the {a} house to the {b} house?",
            "numeric_value",
            lambda m: fill_pairs(m.names),
            _walk,
        ),
        QuestionTemplate(
            "which house is farthest north?",
            "short_answer",
            lambda m: no_slots(m) if _north(m, {}, Random(0)) else [],
            _north,
        ),
    ),
)

# Venn diagrams ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Venn:
    """Dots in the left circle only, in both circles, and in the right circle only."""

    left: int
    both: int
    right: int


def _venn_facts(rng: Random, level: int) -> Venn:
    top = (2, 4, 5)[level - 1]
    return Venn(rng.randint(0, top), rng.randint(0, min(top, 4)), rng.randint(0, top))


def _draw_venn(canvas: Canvas, venn: Venn, rng: Random) -> None:
    (dx, dy), radius = jitter(rng), 36.0
    x, y = 56 + dx, 56 + dy
    canvas.disc((x - 18, y), radius, None, COLORS["red"], 2.0)
    canvas.disc((x + 18, y), radius, None, COLORS["blue"], 2.0)
    for count, center in ((venn.left, x - 32), (venn.both, x), (venn.right, x + 32)):
        for dx, dy in _dots(count):
            canvas.disc((center + dx + rng.uniform(-0.7, 0.7), y + dy + rng.uniform(-0.7, 0.7)), 3.2, INK)


def _dots(count: int) -> Sequence[Point]:
    layouts: list[list[Point]] = [
        [],
        [(0, 0)],
        [(0, -8), (0, 8)],
        [(0, -11), (0, 0), (0, 11)],
        [(-5, -8), (5, -8), (-5, 8), (5, 8)],
        [(-5, -10), (5, -10), (0, 0), (-5, 10), (5, 10)],
    ]
    return layouts[count]


def _in_circle(venn: Venn, slots: Slots, rng: Random) -> Solution | None:
    if slots["side"] not in ("left", "right"):
        return None
    own = venn.left if slots["side"] == "left" else venn.right
    parts = maybe_reversed([f"only {own}", f"both {venn.both}"], rng)
    values = (own, venn.both) if parts[0].startswith("only") else (venn.both, own)
    return Solution(f"{', '.join(parts)}, {addition(values)}", str(own + venn.both))


def _in_both(venn: Venn, slots: Slots, rng: Random) -> Solution:
    way = f"left only {venn.left}, both {venn.both}, right only {venn.right}"
    return Solution(rng.choice([way, f"both {venn.both}"]), str(venn.both))


def _dots_in_all(venn: Venn, slots: Slots, rng: Random) -> Solution:
    values = maybe_reversed([str(venn.left), str(venn.both), str(venn.right)], rng)
    return Solution(addition([int(value) for value in values]), str(venn.left + venn.both + venn.right))


def _only_gap(venn: Venn, slots: Slots, rng: Random) -> Solution:
    parts = maybe_reversed([f"left only {venn.left}", f"right only {venn.right}"], rng)
    return Solution(f"{', '.join(parts)}, {subtraction(venn.left, venn.right)}", str(abs(venn.left - venn.right)))


VENNS = Family(
    "venn diagrams",
    _venn_facts,
    _draw_venn,
    lambda v: [
        "a venn diagram",
        f"a venn diagram with {v.left + v.both + v.right} dots",
        f"a venn diagram with {v.both} dots in both circles",
        f"a venn diagram with {v.left}, {v.both} and {v.right} dots",
    ],
    (
        QuestionTemplate(
            "how many dots are in the {side} circle?",
            "numeric_value",
            lambda v: fill_each("side", ("left", "right")),
            _in_circle,
        ),
        QuestionTemplate("how many dots are in both circles?", "numeric_value", no_slots, _in_both),
        QuestionTemplate("how many dots are there in all?", "numeric_value", no_slots, _dots_in_all),
        QuestionTemplate("how many dots apart are the outer parts?", "numeric_value", no_slots, _only_gap),
    ),
)
