"""Answers that come one by one, in any order, put together to the parts that they belong to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from tasks.engines.request import Completion, Request


def by_part(
    parts: Sequence[Sequence[Request]], answers: Iterable[tuple[int, list[Completion]]]
) -> Iterator[tuple[int, list[list[Completion]]]]:
    """The number and the completions of each part, when its last answer has come.

    `answers` has each request's position in all parts together, and its completions.
    """
    part_of = [number for number, part in enumerate(parts) for _ in part]
    starts = list(accumulate(map(len, parts), initial=0))
    found: dict[int, dict[int, list[Completion]]] = {}
    for index, completions in answers:
        number = part_of[index]
        of_part = found.setdefault(number, {})
        of_part[index - starts[number]] = completions
        if len(of_part) == len(parts[number]):
            yield number, [of_part[position] for position in range(len(parts[number]))]
            del found[number]
