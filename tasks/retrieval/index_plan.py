"""Decide how an index of codes is built, given what the store holds: a decision table.

The quantizer that the store holds was trained on some of the corpus's shards; the other shards are called *added*.

| quantizer in the store | added shards | index in the store | quantizer | codes |
|---|---|---|---|---|
| none | | | train on all shards | code all, by name |
| other settings, or a shard of its training is gone or replaced | | | train on all shards | code all, by name |
| matching | none | no codes of this quantizer | reuse | code all, by name |
| matching | none | codes of this quantizer | reuse | keep all, in the order of that index |
| matching | some, no drift | no codes of this quantizer | reuse | code all, added shards last |
| matching | some, no drift | codes of this quantizer | reuse | keep the index's, then code the rest by name |
| matching | some, drift | | train on all shards | code all, by name |

Then the index is built, and its recall on texts is measured. Where the recall is below the target:

| quantizer of that build | added shards | next |
|---|---|---|
| trained on all shards, or reused | none | the build fails |
| reused | some | train on all shards, code all, by name |

`plan_index` is the first table, `plan_after_low_recall` the second one. Neither reads a vector: `tasks/index.py`
gathers the state and carries out the plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class StoredIndex:
    """What the store holds for an index of codes over `shards`. Shards are given by name."""

    shards: tuple[str, ...]
    """All shards of the corpus, sorted by name."""
    quantizer: Literal["none", "mismatched", "matching"] = "none"
    """`matching`: trained with today's settings on shards that are all still there, unchanged."""
    trained: frozenset[str] = frozenset()
    """Shards that a matching quantizer was trained on."""
    drifted: bool = False
    """Whether the quantizer's error on the added shards grew by more than `drift`."""
    coded: tuple[str, ...] = ()
    """Shards whose codes the index in the store holds, in their order; empty where another quantizer made them, or
    where a shard is gone or replaced."""

    @property
    def added(self) -> tuple[str, ...]:
        """Shards that the quantizer was not trained on."""
        return tuple(name for name in self.shards if name not in self.trained)


@dataclass(frozen=True)
class IndexPlan:
    """How an index of codes is built."""

    train: bool
    """Train the quantizer on all shards; else reuse the one in the store."""
    order: tuple[str, ...]
    """All shards in the order of their codes."""
    kept: int = 0
    """Number of shards, first in `order`, whose codes are copied from the index in the store."""


def plan_index(stored: StoredIndex) -> IndexPlan:
    """The plan for the state of the store (the first table)."""
    if stored.quantizer != "matching" or (stored.added and stored.drifted):
        return _train_anew(stored)
    if stored.coded:
        return IndexPlan(False, _followed_by(stored.coded, stored.shards), kept=len(stored.coded))
    trained = [name for name in stored.shards if name in stored.trained]
    return IndexPlan(False, _followed_by(trained, stored.shards))


def plan_after_low_recall(stored: StoredIndex, plan: IndexPlan) -> IndexPlan | None:
    """The plan after a build whose recall was below the target; None where the build fails (the second table)."""
    return None if plan.train or not stored.added else _train_anew(stored)


def _train_anew(stored: StoredIndex) -> IndexPlan:
    return IndexPlan(True, stored.shards)


def _followed_by(first: Sequence[str], shards: Sequence[str]) -> tuple[str, ...]:
    return (*first, *(name for name in shards if name not in first))
