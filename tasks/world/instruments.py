"""Families of measuring instruments: clocks, dials, number lines, rulers, balance scales and angles."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from tasks.world.canvas import COLORS, INK, NAMES, Canvas, jitter, polar
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

# Clocks -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clock:
    """A time of day on a twelve-hour face."""

    hour: int
    minute: int


def _clock_facts(rng: Random, level: int) -> Clock:
    return Clock(rng.randint(1, 12), rng.choice([range(0, 60, 30), range(0, 60, 15), range(0, 60, 5)][level - 1]))


def _draw_clock(canvas: Canvas, clock: Clock, rng: Random) -> None:
    (dx, dy), radius = jitter(rng), rng.uniform(47, 50)
    center = (56 + dx, 56 + dy)
    hand = COLORS[rng.choice(("black", "blue", "red"))]
    canvas.disc(center, radius, (255, 255, 255), INK, 1.5)
    for tick in range(12):
        inner = 0.82 if tick % 3 == 0 else 0.9
        canvas.line([polar(center, radius * inner, tick * 30), polar(center, radius * 0.97, tick * 30)], INK, 1.2)
    canvas.line([center, polar(center, radius * 0.5, 30 * (clock.hour % 12) + clock.minute / 2)], hand, 3.2)
    canvas.line([center, polar(center, radius * 0.8, 6 * clock.minute)], hand, 1.5)


def _time(minutes: int) -> str:
    hour, minute = divmod(minutes % 720, 60)
    return f"{hour or 12}:{minute:02d}"


def _hands(clock: Clock, rng: Random) -> str:
    return ", ".join(maybe_reversed([f"hour {clock.hour}", f"minute {clock.minute}"], rng))


def _clock_time(clock: Clock, slots: Slots, rng: Random) -> Solution:
    return Solution(_hands(clock, rng), _time(60 * clock.hour + clock.minute))


def _later(clock: Clock, slots: Slots, rng: Random) -> Solution | None:
    if slots["n"] not in ("15", "30", "45"):
        return None
    now = 60 * clock.hour + clock.minute
    return Solution(f"{_hands(clock, rng)}, {_time(now)} + {slots['n']}", _time(now + int(slots["n"])))


def _past(clock: Clock, slots: Slots, rng: Random) -> Solution:
    return Solution(rng.choice([_hands(clock, rng), f"minute {clock.minute}"]), str(clock.minute))


CLOCKS = Family(
    "clocks",
    _clock_facts,
    _draw_clock,
    lambda c: [
        "a clock",
        f"a clock after {c.hour}",
        f"a clock showing {_time(60 * c.hour + c.minute)}",
        f"a clock with the minute hand at {c.minute}",
    ],
    (
        QuestionTemplate("what time is it?", "short_answer", no_slots, _clock_time),
        QuestionTemplate(
            "what time will it be in {n} minutes?", "short_answer", lambda c: fill_each("n", (15, 30, 45)), _later
        ),
        QuestionTemplate("how many minutes past the hour is it?", "numeric_value", no_slots, _past),
    ),
)

# Dials --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dial:
    """A needle on a scale from 0 to `top`, marked at every `step`."""

    value: int
    top: int
    step: int


def _dial_facts(rng: Random, level: int) -> Dial:
    top, step, unit = [(10, 2, 2), (10, 2, 1), (100, 20, 5)][level - 1]
    return Dial(rng.randrange(0, top + 1, unit), top, step)


def _draw_dial(canvas: Canvas, dial: Dial, rng: Random) -> None:
    (dx, dy), radius = jitter(rng), 48.0
    center = (56 + dx, 60 + dy)
    canvas.disc(center, radius, (255, 255, 255), INK, 1.2)
    for mark in range(0, dial.top + 1, dial.step):
        angle = -120 + 240 * mark / dial.top
        canvas.line([polar(center, radius * 0.85, angle), polar(center, radius, angle)], INK, 1.2)
        canvas.text(polar(center, radius * 0.66, angle), str(mark), 8)
    color = COLORS[rng.choice(("red", "blue", "black"))]
    canvas.line([center, polar(center, radius * 0.92, -120 + 240 * dial.value / dial.top)], color, 2.0)


def _between(dial: Dial) -> str:
    low = dial.value // dial.step * dial.step
    return f"at the mark {low}" if low == dial.value else f"from {low} to {low + dial.step}"


def _reading(dial: Dial, slots: Slots, rng: Random) -> Solution:
    way = rng.choice([f"the needle is at {dial.value}", f"{_between(dial)}, {dial.value}"])
    return Solution(way, str(dial.value))


def _to_top(dial: Dial, slots: Slots, rng: Random) -> Solution:
    reading = _reading(dial, slots, rng).steps
    return Solution(f"{reading}, {subtraction(dial.top, dial.value)}", str(dial.top - dial.value))


DIALS = Family(
    "dials",
    _dial_facts,
    _draw_dial,
    lambda d: [
        "a dial",
        f"a dial from 0 to {d.top}",
        f"a dial showing {d.value}",
        f"a dial from 0 to {d.top} showing {d.value}",
    ],
    (
        QuestionTemplate("what does the dial show?", "numeric_value", no_slots, _reading),
        QuestionTemplate("how far is the needle from the maximum?", "numeric_value", no_slots, _to_top),
    ),
)

# Number lines -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NumberLine:
    """Markers of different colors on a line of eleven ticks from `start`, `step` apart."""

    start: int
    step: int
    markers: tuple[tuple[str, int], ...]

    def at(self, name: str) -> int | None:
        return dict(self.markers).get(name)


def _line_facts(rng: Random, level: int) -> NumberLine:
    start, step = [(0, 1), (rng.choice((0, 10, 20)), 1), (0, rng.choice((2, 5)))][level - 1]
    ticks = rng.sample(range(11), 1 + min(level, 2))
    return NumberLine(
        start, step, tuple(zip(rng.sample(NAMES, len(ticks)), [start + step * t for t in ticks], strict=True))
    )


def _draw_number_line(canvas: Canvas, line: NumberLine, rng: Random) -> None:
    dx, dy = jitter(rng)
    height, left, right = 70 + dy, 6 + dx, 106 + dx
    canvas.line([(left, height), (right, height)], INK, 1.2)
    spread = (right - left) / 10
    for tick in range(11):
        x = left + tick * spread
        canvas.line([(x, height - 3), (x, height + 3)], INK, 1.0)
        if tick % 5 == 0:
            canvas.text((x, height + 11), str(line.start + tick * line.step), 10)
    for name, value in line.markers:
        x = left + (value - line.start) / line.step * spread
        canvas.polygon([(x, height - 4), (x - 5, height - 16), (x + 5, height - 16)], COLORS[name])


def _marker(line: NumberLine, slots: Slots, rng: Random) -> Solution | None:
    value = line.at(slots["a"])
    if value is None:
        return None
    middle = line.start + 5 * line.step
    side = "right" if value > middle else "left"
    away = f"{abs(value - middle)} {side} of {middle}" if value != middle else f"at {middle}"
    return Solution(rng.choice([f"{slots['a']} {value}", away]), str(value))


def _distance(line: NumberLine, slots: Slots, rng: Random) -> Solution | None:
    names = shuffled([slots["a"], slots["b"]], rng)
    a, b = line.at(names[0]), line.at(names[1])
    if a is None or b is None or names[0] == names[1]:
        return None
    return Solution(f"{names[0]} {a}, {names[1]} {b}, {subtraction(a, b)}", str(abs(a - b)))


NUMBER_LINES = Family(
    "number lines",
    _line_facts,
    _draw_number_line,
    lambda n: [
        "a number line",
        f"a number line with {len(n.markers)} markers",
        f"a number line from {n.start} to {n.start + 10 * n.step}",
        f"a number line with a {n.markers[0][0]} marker and a {n.markers[1][0]} marker",
    ],
    (
        QuestionTemplate(
            "what number is the {a} marker at?",
            "numeric_value",
            lambda n: fill_each("a", [m for m, _ in n.markers]),
            _marker,
        ),
        QuestionTemplate(
            "how far apart are the {a} marker and the {b} marker?",
            "numeric_value",
            lambda n: fill_pairs([m for m, _ in n.markers]),
            _distance,
        ),
    ),
)

# Rulers -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ruler:
    """A bar above a ruler of ten units."""

    start: int
    end: int
    color: str


def _ruler_facts(rng: Random, level: int) -> Ruler:
    start = 0 if level == 1 else rng.randint(0, 6)
    return Ruler(start, rng.randint(start + 1, 10), rng.choice(NAMES))


def _draw_ruler(canvas: Canvas, ruler: Ruler, rng: Random) -> None:
    (dx, dy), spread = jitter(rng), 10.0
    left, top = 6 + dx, 56 + dy
    canvas.box(left - 4, top, left + 100, top + 24, (245, 225, 160), INK)
    for tick in range(11):
        x = left + tick * spread
        canvas.line([(x, top), (x, top + 7)], INK, 1.0)
        if tick % 2 == 0:
            canvas.text((x, top + 15), str(tick), 9)
    canvas.box(left + ruler.start * spread, top - 15, left + ruler.end * spread, top - 4, COLORS[ruler.color])


def _length(ruler: Ruler, slots: Slots, rng: Random) -> Solution:
    ends = maybe_reversed([f"start {ruler.start}", f"end {ruler.end}"], rng)
    return Solution(f"{', '.join(ends)}, {subtraction(ruler.end, ruler.start)}", str(ruler.end - ruler.start))


def _end(ruler: Ruler, slots: Slots, rng: Random) -> Solution:
    return Solution(rng.choice([f"end {ruler.end}", f"start {ruler.start}, end {ruler.end}"]), str(ruler.end))


RULERS = Family(
    "rulers",
    _ruler_facts,
    _draw_ruler,
    lambda r: [
        "a ruler",
        f"a ruler with a {r.color} bar",
        f"a ruler and a bar from {r.start} to {r.end}",
        f"a ruler with a {r.color} bar of length {r.end - r.start}",
    ],
    (
        QuestionTemplate("how long is the bar?", "numeric_value", no_slots, _length),
        QuestionTemplate("where does the bar end?", "numeric_value", no_slots, _end),
    ),
)

# Balance scales -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Balance:
    """Equal blocks on the two pans of a scale."""

    left: int
    right: int
    color: str


def _balance_facts(rng: Random, level: int) -> Balance:
    top = (3, 6, 9)[level - 1]
    return Balance(rng.randint(1, top), rng.randint(1, top), rng.choice(NAMES))


def _draw_balance(canvas: Canvas, balance: Balance, rng: Random) -> None:
    dx, dy = jitter(rng)
    x, y = 56 + dx, 80 + dy
    tilt = max(-4, min(4, 2 * (balance.right - balance.left)))
    canvas.polygon([(x, y), (x - 9, y + 26), (x + 9, y + 26)], INK)
    canvas.line([(x - 42, y - tilt), (x + 42, y + tilt)], INK, 2.0)
    for count, center, base in ((balance.left, x - 30, y - tilt * 0.7), (balance.right, x + 30, y + tilt * 0.7)):
        for i in range(count):
            column, row = i % 3, i // 3
            left, bottom = center - 15 + column * 10.5, base - 3 - row * 10.5
            canvas.box(left, bottom - 9, left + 9, bottom, COLORS[balance.color])


def _sides(balance: Balance, rng: Random) -> str:
    return ", ".join(maybe_reversed([f"left {balance.left}", f"right {balance.right}"], rng))


def _heavier(balance: Balance, slots: Slots, rng: Random) -> Solution:
    answer = "left" if balance.left > balance.right else "right" if balance.right > balance.left else "neither"
    return Solution(_sides(balance, rng), answer)


def _more_blocks(balance: Balance, slots: Slots, rng: Random) -> Solution:
    return Solution(
        f"{_sides(balance, rng)}, {subtraction(balance.left, balance.right)}", str(abs(balance.left - balance.right))
    )


def _blocks(balance: Balance, slots: Slots, rng: Random) -> Solution:
    values = rng.choice([(balance.left, balance.right), (balance.right, balance.left)])
    return Solution(f"{_sides(balance, rng)}, {addition(values)}", str(sum(values)))


def _side_blocks(balance: Balance, slots: Slots, rng: Random) -> Solution | None:
    if slots["side"] not in ("left", "right"):
        return None
    count = balance.left if slots["side"] == "left" else balance.right
    return Solution(rng.choice([_sides(balance, rng), f"{slots['side']} {count}"]), str(count))


BALANCES = Family(
    "balance scales",
    _balance_facts,
    _draw_balance,
    lambda b: [
        "a balance scale",
        f"a balance scale with {b.color} blocks",
        f"a balance scale with {b.left + b.right} blocks",
        f"a balance scale with {b.left} blocks left and {b.right} blocks right",
    ],
    (
        QuestionTemplate("which side is heavier?", "short_answer", no_slots, _heavier),
        QuestionTemplate("how many blocks apart are the sides?", "numeric_value", no_slots, _more_blocks),
        QuestionTemplate("how many blocks are there?", "numeric_value", no_slots, _blocks),
        QuestionTemplate(
            "how many blocks are on the {side} side?",
            "numeric_value",
            lambda b: fill_each("side", ("left", "right")),
            _side_blocks,
        ),
    ),
)

# Angles -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Angle:
    """Two rays that open by a whole number of degrees."""

    degrees: int
    color: str


def _angle_facts(rng: Random, level: int) -> Angle:
    return Angle(rng.choice([(45, 90, 135), range(30, 180, 30), range(20, 170, 10)][level - 1]), rng.choice(NAMES))


def _draw_angle(canvas: Canvas, angle: Angle, rng: Random) -> None:
    (dx, dy), turn = jitter(rng), rng.choice((-90, -60, -30, 0))
    center = (56 + dx, 60 + dy)
    for degrees in (turn, turn + angle.degrees):
        canvas.line([center, polar(center, 46, degrees)], COLORS[angle.color], 2.0)
    canvas.disc(center, 2.5, INK)
    canvas.line([polar(center, 15, turn + i * angle.degrees / 12) for i in range(13)], INK, 1.0)


def _angle_kind(angle: Angle) -> str:
    return "acute" if angle.degrees < 90 else "right" if angle.degrees == 90 else "obtuse"


def _degrees(angle: Angle, slots: Slots, rng: Random) -> Solution:
    side = {"acute": "less than 90", "right": "just 90", "obtuse": "more than 90"}[_angle_kind(angle)]
    return Solution(rng.choice([_angle_kind(angle), side]), str(angle.degrees))


def _kind_of_angle(angle: Angle, slots: Slots, rng: Random) -> Solution:
    side = {"acute": "less than 90", "right": "just 90", "obtuse": "more than 90"}[_angle_kind(angle)]
    return Solution(rng.choice([side, f"about {angle.degrees}"]), _angle_kind(angle))


def _to_straight(angle: Angle, slots: Slots, rng: Random) -> Solution:
    return Solution(f"{_angle_kind(angle)}, {subtraction(180, angle.degrees)}", str(180 - angle.degrees))


ANGLES = Family(
    "angles",
    _angle_facts,
    _draw_angle,
    lambda a: ["an angle", f"a {a.color} angle", f"an {_angle_kind(a)} angle", f"an angle of {a.degrees} degrees"],
    (
        QuestionTemplate("how many degrees is the angle?", "numeric_value", no_slots, _degrees),
        QuestionTemplate("what kind of angle is it?", "short_answer", no_slots, _kind_of_angle),
        QuestionTemplate("how many degrees are missing to a straight line?", "numeric_value", no_slots, _to_straight),
    ),
)
