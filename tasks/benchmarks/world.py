"""The micro world's own items: `heldout` is reported, `validation` decides on promotion, `gold` tests the labels."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.benchmarks.item import BenchmarkItem
from tasks.benchmarks.metrics import Metric
from tasks.records.prompt import Picture
from tasks.settings.base import Settings
from tasks.world import heldout


class WorldBenchmark(Settings):
    """Items of a split of the micro world: domains and levels in turn."""

    kind: Literal["world"] = "world"
    split: heldout.Split
    """Whose seeds the pictures are drawn from: no other split's, and no corpus's."""
    count: int = Field(1248, ge=1)
    """How many items. 1248 has each of the 16 domains 26 times at each of the 3 levels."""

    @property
    def metric(self) -> Metric:
        """Accuracy is all there is."""
        return "accuracy"

    def items(self) -> list[BenchmarkItem]:
        """All items; the first n of them are the same whatever `count` is."""
        return [_item(item) for item in heldout.items(self.split, self.count)]


def _item(item: heldout.HeldOutItem) -> BenchmarkItem:
    query, picture = item.query, Picture(item.id, item.scene.png())
    return BenchmarkItem(item.id, item.scene.domain, query.text, query.kind, query.solution.answer, picture)
