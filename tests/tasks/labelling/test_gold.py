"""Gold items are unmarked, never train, and can end a run."""

from __future__ import annotations

import pytest

from tasks.benchmarks import open_benchmark
from tasks.config import FilterConfig, GoldItemConfig
from tasks.filter import curriculum, labelled_gold_item
from tasks.labelling import gold

CONFIG = FilterConfig(answers=10, low=0.3, high=0.8)
ITEMS = open_benchmark("world:gold").read().items[:40]


def labelled(right: int, total: int) -> list[gold.LabelledQuestion]:
    """`total` gold items with agreement 0.6, the first `right` of them labelled with their known answer."""
    return [
        labelled_gold_item(item, ((item.target if n < right else "wrong",) * 6 + (None,) * 4), CONFIG)
        for n, item in enumerate(ITEMS[:total])
    ]


def test_a_gold_item_never_trains() -> None:
    rows = labelled(20, 20)
    assert curriculum(rows) == []
    assert {row.reason for row in rows} == {"gold item"}


def test_gold_items_make_up_their_share_and_differ_by_round() -> None:
    assert len(gold.draw(ITEMS, share=0.2, questions=80, seed=1)) == 20
    assert len(gold.draw(ITEMS, share=0.5, questions=1000, seed=1)) == len(ITEMS)
    first, second = (gold.draw(ITEMS, 0.2, 40, seed) for seed in (1, 2))
    assert {item.id for item in first} != {item.id for item in second}


def test_only_gold_items_in_the_window_are_counted() -> None:
    certain = labelled_gold_item(ITEMS[0], (ITEMS[0].target,) * 10, CONFIG)
    assert gold.in_window([certain, *labelled(3, 4)], CONFIG) == labelled(3, 4)


@pytest.mark.parametrize(("right", "ends"), [(40, False), (20, False), (15, False), (5, True), (0, True)])
def test_a_run_ends_when_its_labels_are_surely_below_the_floor(right: int, ends: bool) -> None:
    assert (gold.reason_to_stop(labelled(right, 40), CONFIG) is not None) == ends


def test_without_gold_items_nothing_ends_a_run() -> None:
    assert gold.reason_to_stop([], CONFIG) is None
    assert gold.reason_to_stop(labelled(0, 40), CONFIG.model_copy(update={"gold": None})) is None


def test_the_window_rises_until_labels_are_right_often_enough() -> None:
    config = FilterConfig(answers=10, low=0.3, high=0.8, gold=GoldItemConfig(trust=0.9))
    unsure = [labelled_gold_item(item, ("wrong",) * 4 + (None,) * 6, config) for item in ITEMS[:10]]
    sure = [labelled_gold_item(item, (item.target,) * 7 + (None,) * 3, config) for item in ITEMS[10:20]]
    assert gold.agreement_floor([*unsure, *sure], config) == 0.7
    assert gold.agreement_floor(sure, config) == config.low
    assert gold.in_window([*unsure, *sure], config) == sure


def test_without_a_trust_level_the_window_stays() -> None:
    rows = [labelled_gold_item(item, ("wrong",) * 4 + (None,) * 6, CONFIG) for item in ITEMS[:10]]
    assert gold.agreement_floor(rows, CONFIG) == CONFIG.low
