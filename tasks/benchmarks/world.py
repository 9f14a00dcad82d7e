"""The micro world's benchmarks: `world:heldout` is reported, `world:validation` decides promotion, `world:gold` holds
the gold items that test the labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field

from tasks.benchmarks.item import BenchmarkItem, BenchmarkRows
from tasks.benchmarks.metrics import Metric
from tasks.records.picture import Picture
from tasks.settings.base import Settings
from tasks.world import heldout

_PREFIX = "world:"


class WorldBenchmark(Settings):
    """Items of one split of the micro world. Domains and difficulty levels alternate."""

    kind: Literal["world"] = "world"
    split: heldout.Split
    """The pictures' seeds come from this split; no other split and no corpus uses them."""
    count: int = Field(1248, ge=1)
    """Number of items. 1248 has each of the 16 domains 26 times at each of the 3 levels."""

    @classmethod
    def names(cls) -> Sequence[str]:
        """One name for each split."""
        return [f"{_PREFIX}{split}" for split in heldout.ITEMS]

    @classmethod
    def named(cls, name: str) -> Self | None:
        """The split of that name at its full size."""
        counts = {f"{_PREFIX}{split}": (split, count) for split, count in heldout.ITEMS.items()}
        if name not in counts:
            return None
        split, count = counts[name]
        return cls(split=split, count=count)

    @property
    def metric(self) -> Metric:
        """Plain accuracy only."""
        return "accuracy"

    def read(self) -> BenchmarkRows:
        """All items. The first n are the same for every `count`."""
        return BenchmarkRows([_item(item) for item in heldout.items(self.split, self.count)], [])


def _item(item: heldout.HeldOutItem) -> BenchmarkItem:
    question, picture = item.question, Picture(item.id, item.scene.png())
    return BenchmarkItem(item.id, item.scene.domain, question.text, question.kind, question.solution.answer, picture)
