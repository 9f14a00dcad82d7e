"""Families of charts: bar charts, pie charts and line plots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from tasks.world.canvas import CELL, COLORS, INK, NAMES, Canvas, jitter
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
class Series:
    """Named whole values in the order in which they are drawn."""

    values: Mapping[str, int]

    @property
    def names(self) -> list[str]:
        return list(self.values)

    def __getitem__(self, name: str) -> int:
        return self.values[name]

    def __contains__(self, name: object) -> bool:
        return name in self.values


def _read(series: Series, names: list[str]) -> str:
    return ", ".join(f"{name} {series[name]}" for name in names)


def _value(series: Series, slots: Slots, rng: Random) -> Solution | None:
    name = slots["a"]
    if name not in series:
        return None
    names = [name] if rng.random() < 0.5 else maybe_reversed(series.names, rng)
    return Solution(_read(series, names), str(series[name]))


def _sum(series: Series, slots: Slots, rng: Random) -> Solution | None:
    names = [slots["a"], slots["b"]]
    if len(set(names)) < 2 or not all(name in series for name in names):
        return None
    names = shuffled(names, rng)
    values = [series[name] for name in names]
    return Solution(f"{_read(series, names)}, {addition(values)}", str(sum(values)))


def _difference(series: Series, slots: Slots, rng: Random) -> Solution | None:
    names = [slots["a"], slots["b"]]
    if len(set(names)) < 2 or not all(name in series for name in names):
        return None
    names = shuffled(names, rng)
    a, b = (series[name] for name in names)
    return Solution(f"{_read(series, names)}, {subtraction(a, b)}", str(abs(a - b)))


def _extreme(largest: bool) -> QuestionTemplate[Series]:
    def solve(series: Series, slots: Slots, rng: Random) -> Solution | None:
        best = (max if largest else min)(series.values.values())
        winners = [name for name in series.names if series[name] == best]
        if len(winners) > 1:
            return None
        return Solution(_read(series, maybe_reversed(series.names, rng)), winners[0])

    def options(series: Series) -> list[Slots]:
        return no_slots(series) if solve(series, {}, Random(0)) else []

    word = "largest" if largest else "smallest"
    return QuestionTemplate(f"which color is the {word}?", "short_answer", options, solve)


def _all(series: Series, slots: Slots, rng: Random) -> Solution:
    names = maybe_reversed(series.names, rng) if rng.random() < 0.5 else shuffled(series.names, rng)
    values = [series[name] for name in names]
    return Solution(f"{_read(series, names)}, {addition(values)}", str(sum(values)))


def _colors(rng: Random, count: int) -> list[str]:
    return rng.sample(NAMES, count)


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


BASE, STEP = 108.0, 11.0
"""The height of a chart's zero line and of one unit, in pixels."""


def _gridlines(canvas: Canvas, dy: float) -> None:
    """Draw one line for each unit, every third one darker."""
    for value in range(10):
        height = BASE + dy - value * STEP
        canvas.line(
            [(2, height), (110, height)], INK if value == 0 else (150,) * 3 if value % 3 == 0 else (210,) * 3, 0.6
        )


# Bar charts ---------------------------------------------------------------------------------------------------------


def _bar_facts(rng: Random, level: int) -> Series:
    top = 5 if level == 1 else 9
    return Series({name: rng.randint(1, top) for name in _colors(rng, level + 1)})


def _draw_bars(canvas: Canvas, series: Series, rng: Random) -> None:
    dx, dy = jitter(rng)
    _gridlines(canvas, dy)
    for i, name in enumerate(series.names):
        x = CELL * i + 6 + dx
        canvas.box(x, BASE + dy - series[name] * STEP, x + 17, BASE + dy, COLORS[name])


def _bar_captions(series: Series) -> list[str]:
    count, tallest = len(series.names), max(series.names, key=lambda name: series[name])
    return [
        "a bar chart",
        f"a bar chart with {count} bars",
        f"a bar chart with {count} bars, {_listed(series.names)}",
        f"a bar chart, the {tallest} bar is tall",
    ]


BARS = Family(
    "bar charts",
    _bar_facts,
    _draw_bars,
    _bar_captions,
    (
        QuestionTemplate(
            "what is the value of the {a} bar?", "numeric_value", lambda s: fill_each("a", s.names), _value
        ),
        QuestionTemplate("what is the {a} bar plus the {b} bar?", "numeric_value", lambda s: fill_pairs(s.names), _sum),
        QuestionTemplate(
            "what is the difference between the {a} bar and the {b} bar?",
            "numeric_value",
            lambda s: fill_pairs(s.names),
            _difference,
        ),
        QuestionTemplate("what is the sum of all bars?", "numeric_value", no_slots, _all),
        _extreme(True),
        _extreme(False),
    ),
)

# Pie charts ---------------------------------------------------------------------------------------------------------


def _pie_facts(rng: Random, level: int) -> Series:
    count = level + 1
    cuts = sorted(rng.sample(range(1, 10), count - 1))
    shares = [b - a for a, b in zip([0, *cuts], [*cuts, 10], strict=True)]
    return Series({name: 10 * share for name, share in zip(_colors(rng, count), shares, strict=True)})


def _draw_pie(canvas: Canvas, series: Series, rng: Random) -> None:
    (dx, dy), radius = jitter(rng), rng.uniform(46, 49)
    center = (56 + dx, 56 + dy)
    start = 0.0
    for name in series.names:
        end = start + 3.6 * series[name]
        canvas.wedge(center, radius, start, end, COLORS[name])
        start = end


def _pie_captions(series: Series) -> list[str]:
    count, largest = len(series.names), max(series.names, key=lambda name: series[name])
    return [
        "a pie chart",
        f"a pie chart with {count} slices",
        f"a pie chart with {count} slices, {_listed(series.names)}",
        f"a pie chart, the {largest} slice is large",
    ]


PIES = Family(
    "pie charts",
    _pie_facts,
    _draw_pie,
    _pie_captions,
    (
        QuestionTemplate("what percent is the {a} slice?", "numeric_value", lambda s: fill_each("a", s.names), _value),
        QuestionTemplate(
            "what percent are the {a} and {b} slices together?", "numeric_value", lambda s: fill_pairs(s.names), _sum
        ),
        QuestionTemplate(
            "how many percent apart are the {a} and {b} slices?",
            "numeric_value",
            lambda s: fill_pairs(s.names),
            _difference,
        ),
        _extreme(True),
        _extreme(False),
    ),
)

# Line plots ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plot:
    """A polyline through whole values at x = 1, 2, ..."""

    values: tuple[int, ...]
    color: str


def _plot_facts(rng: Random, level: int) -> Plot:
    top = 5 if level == 1 else 9
    return Plot(tuple(rng.randint(0, top) for _ in range(level + 1)), rng.choice(NAMES))


def _draw_plot(canvas: Canvas, plot: Plot, rng: Random) -> None:
    dx, dy = jitter(rng)
    _gridlines(canvas, dy)
    points = [(CELL * (i + 0.5) + dx, BASE + dy - value * STEP) for i, value in enumerate(plot.values)]
    canvas.line(points, COLORS[plot.color], 1.6)
    for point in points:
        canvas.disc(point, 3.4, COLORS[plot.color])


def _points(plot: Plot, rng: Random) -> str:
    return ", ".join(maybe_reversed([f"{i}: {value}" for i, value in enumerate(plot.values, 1)], rng))


def _at(plot: Plot, slots: Slots, rng: Random) -> Solution | None:
    if not slots["x"].isdigit() or not 1 <= int(slots["x"]) <= len(plot.values):
        return None
    x = int(slots["x"])
    return Solution(f"{x}: {plot.values[x - 1]}" if rng.random() < 0.5 else _points(plot, rng), str(plot.values[x - 1]))


def _peak(plot: Plot, slots: Slots, rng: Random) -> Solution:
    return Solution(_points(plot, rng), str(max(plot.values)))


def _rises(plot: Plot, slots: Slots, rng: Random) -> Solution:
    moves = ["up" if b > a else "down" if b < a else "flat" for a, b in zip(plot.values, plot.values[1:], strict=False)]
    ways = [f"{_points(plot, rng)}, ", ""]
    return Solution(rng.choice(ways) + ", ".join(moves), str(moves.count("up")))


def _climb(plot: Plot, slots: Slots, rng: Random) -> Solution:
    first, last = plot.values[0], plot.values[-1]
    ends = maybe_reversed([f"1: {first}", f"{len(plot.values)}: {last}"], rng)
    return Solution(f"{', '.join(ends)}, {subtraction(first, last)}", str(abs(first - last)))


LINES = Family(
    "line plots",
    _plot_facts,
    _draw_plot,
    lambda p: [
        "a line plot",
        f"a {p.color} line plot",
        f"a line plot with {len(p.values)} points",
        f"a {p.color} line plot with {len(p.values)} points",
    ],
    (
        QuestionTemplate(
            "what is the value at {x}?", "numeric_value", lambda p: fill_each("x", range(1, len(p.values) + 1)), _at
        ),
        QuestionTemplate("what is the highest value?", "numeric_value", no_slots, _peak),
        QuestionTemplate("how many times does the line go up?", "numeric_value", no_slots, _rises),
        QuestionTemplate("how far apart are the first and the last value?", "numeric_value", no_slots, _climb),
    ),
)
