"""Seed ranges that keep the splits disjoint: a scene of one range is never drawn for another split."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Seeds:
    """A range of scene seeds, `start` included and `stop` excluded."""

    start: int
    stop: int

    def draw(self, rng: Random) -> int:
        return rng.randrange(self.start, self.stop)

    def __contains__(self, seed: int) -> bool:
        return self.start <= seed < self.stop


CORPUS = Seeds(0, 10**8)
HELDOUT = Seeds(10**8, 2 * 10**8)
VALIDATION = Seeds(2 * 10**8, 3 * 10**8)
GOLD = Seeds(3 * 10**8, 4 * 10**8)
PRETRAINING = Seeds(10**9, 2 * 10**9)
