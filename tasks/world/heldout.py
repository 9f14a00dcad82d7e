"""Items with exact answers: the held-out set is reported, the validation set decides, gold items test the labels."""

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
"""Number of items of each split. The reported set is twice the deciding one, since a change of greedy accuracy is small
compared with its noise."""
_SEEDS = {"heldout": HELDOUT, "validation": VALIDATION, "gold": GOLD}
_DRAWN_AS = {"gold": "canary"}
"""The name in ids and random seeds, where it differs from the split's: changing it would change the items."""


@dataclass(frozen=True)
class HeldOutItem:
    """One picture, one question, one exact answer."""

    id: str
    scene: Scene
    question: SceneQuestion


def items(split: Split, count: int) -> list[HeldOutItem]:
    """The first `count` items of a split. Domains and levels take turns, so that each is equally frequent."""
    return [_item(split, index) for index in range(count)]


def _item(split: Split, index: int) -> HeldOutItem:
    name = _DRAWN_AS.get(split, split)
    rng = Random(f"{name}/{index}")
    domain, level = DOMAINS[index % len(DOMAINS)], 1 + index // len(DOMAINS) % 3
    scene = Scene(domain, level, _SEEDS[split].draw(rng))
    return HeldOutItem(f"{name}-{index:05d}", scene, scene.draw_question(rng))


def picture_hashes(chosen: Sequence[HeldOutItem]) -> frozenset[str]:
    """sha256 of the items' pictures (PNG), which a corpus must not contain."""
    return frozenset(hashlib.sha256(item.scene.png()).hexdigest() for item in chosen)
