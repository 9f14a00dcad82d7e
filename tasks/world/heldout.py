"""Items whose answer is known exactly: a held-out set to report, a validation set to decide by, and gold items."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from tasks.world.scene import DOMAINS, Scene, SceneQuestion
from tasks.world.splits import GOLD, HELDOUT, VALIDATION

Split = Literal["heldout", "validation", "gold"]
ITEMS: dict[Split, int] = {"heldout": 2496, "validation": 1248, "gold": 1248}
"""How many items of each split are used. Twice as many are reported as decide: a change of greedy answers is small
beside its noise."""
_SEEDS = {"heldout": HELDOUT, "validation": VALIDATION, "gold": GOLD}
_DRAWN_AS = {"gold": "canary"}
"""Gold items were called canaries. Ids and random numbers keep that name, so that the items stay the same."""


@dataclass(frozen=True)
class HeldOutItem:
    """One picture, one question, one exact answer."""

    id: str
    scene: Scene
    query: SceneQuestion


def items(split: Split, count: int) -> list[HeldOutItem]:
    """The first `count` items of a split: domains and levels in turn, so that each is equally frequent."""
    return [_item(split, index) for index in range(count)]


def _item(split: Split, index: int) -> HeldOutItem:
    name = _DRAWN_AS.get(split, split)
    rng = Random(f"{name}/{index}")
    domain, level = DOMAINS[index % len(DOMAINS)], 1 + index // len(DOMAINS) % 3
    scene = Scene(domain, level, _SEEDS[split].draw(rng))
    return HeldOutItem(f"{name}-{index:05d}", scene, scene.question(rng))


def fingerprints(parts: Sequence[HeldOutItem]) -> frozenset[str]:
    """sha256 of the items' pictures (PNG): a corpus must not hold them."""
    return frozenset(hashlib.sha256(item.scene.png()).hexdigest() for item in parts)
