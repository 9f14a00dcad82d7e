"""The decision table of a code index, row by row."""

from __future__ import annotations

import pytest

from tasks.retrieval.index_plan import IndexPlan, StoredIndex, plan_after_low_recall, plan_index

SHARDS = ("a", "b", "c")
TRAIN_ANEW = IndexPlan(train=True, order=SHARDS)
ALL, LAST = frozenset(SHARDS), frozenset("bc")

ROWS = {
    "no quantizer": (StoredIndex(SHARDS), TRAIN_ANEW),
    "quantizer of other settings": (StoredIndex(SHARDS, "mismatched"), TRAIN_ANEW),
    "matching, none added, no codes": (StoredIndex(SHARDS, "matching", ALL), IndexPlan(False, SHARDS)),
    "matching, none added, codes": (
        StoredIndex(SHARDS, "matching", ALL, coded=("b", "c", "a")),
        IndexPlan(False, ("b", "c", "a"), kept=3),
    ),
    "added without drift, no codes": (StoredIndex(SHARDS, "matching", LAST), IndexPlan(False, ("b", "c", "a"))),
    "added without drift, codes": (
        StoredIndex(SHARDS, "matching", LAST, coded=("c", "b")),
        IndexPlan(False, ("c", "b", "a"), kept=2),
    ),
    "some added shards are coded already": (
        StoredIndex((*SHARDS, "d"), "matching", LAST, coded=("b", "c", "d")),
        IndexPlan(False, ("b", "c", "d", "a"), kept=3),
    ),
    "added with drift": (StoredIndex(SHARDS, "matching", LAST, drifted=True), TRAIN_ANEW),
}


@pytest.mark.parametrize("row", ROWS)
def test_the_state_of_the_store_decides_the_plan(row: str) -> None:
    stored, plan = ROWS[row]
    assert plan_index(stored) == plan


@pytest.mark.parametrize("row", ROWS)
def test_every_plan_codes_each_shard_once(row: str) -> None:
    stored, plan = ROWS[row]
    assert sorted(plan.order) == sorted(stored.shards)
    assert plan.order[: plan.kept] == (stored.coded if plan.kept else ())


@pytest.mark.parametrize(
    ("stored", "then"),
    [
        (StoredIndex(SHARDS), None),
        (StoredIndex(SHARDS, "mismatched"), None),
        (StoredIndex(SHARDS, "matching", ALL), None),
        (StoredIndex(SHARDS, "matching", LAST, drifted=True), None),
        (StoredIndex(SHARDS, "matching", LAST), TRAIN_ANEW),
        (StoredIndex(SHARDS, "matching", LAST, coded=("b", "c")), TRAIN_ANEW),
    ],
)
def test_low_recall_trains_anew_only_with_untrained_shards(stored: StoredIndex, then: IndexPlan | None) -> None:
    assert plan_after_low_recall(stored, plan_index(stored)) == then
