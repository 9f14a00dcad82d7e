"""Gold items: items with a known answer, mixed unmarked into every labelling batch, to measure label accuracy.

Self-play trains on its own majority votes, and label accuracy falls over rounds (R-Zero: 79 -> 69 -> 63 %). The Solver
answers a gold item in the same batch and with the same sampling as any question; the item's pseudo-label is then
compared with the known answer. Gold items stay in the filter's file with the reason `gold item` and never train. Every
report shows their label accuracy, and a run ends when the accuracy is surely (95 %) below a floor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from tasks.benchmarks import BenchmarkItem
from tasks.benchmarks.statistics import wilson
from tasks.config import FilterConfig
from tasks.grading import equal
from tasks.records import LabelledQuestion

GOLD_ITEM = "gold item"


def draw(items: Sequence[BenchmarkItem], share: float, questions: int, seed: int) -> list[BenchmarkItem]:
    """Random items that make up `share` of the batch with so many questions, or all items if there are fewer."""
    wanted = math.ceil(share / (1 - share) * questions)
    return Random(seed).sample(list(items), min(wanted, len(items)))


def in_window(rows: Sequence[LabelledQuestion], config: FilterConfig) -> list[LabelledQuestion]:
    """Gold items that would train if they were questions: with a label, and an agreement in the trusted window."""
    floor = agreement_floor(rows, config)
    return [item for item in _labelled_items(rows, config) if item.agreement >= floor]


def agreement_floor(rows: Sequence[LabelledQuestion], config: FilterConfig) -> float:
    """The least agreement at which the gold items from there up reach the label accuracy `gold.trust`.

    A trained Solver agrees with itself more often without being right more often, so a window whose labels were good in
    one round has worse labels in the next. If no agreement reaches the accuracy, the floor is the highest agreement.
    """
    items = _labelled_items(rows, config)
    if config.gold is None or not items:
        return config.low
    levels = sorted({item.agreement for item in items})
    trusted = (
        level for level in levels if _accuracy([item for item in items if item.agreement >= level]) >= config.gold.trust
    )
    floor = next(trusted, levels[-1])
    return config.low if floor == levels[0] else floor


def label_is_right(item: LabelledQuestion) -> bool:
    """Whether the pseudo-label equals the known answer."""
    if item.label is None or item.target is None:
        return False
    return equal(str(item.label), str(item.target)).equal


def reason_to_stop(rows: Sequence[LabelledQuestion], config: FilterConfig) -> str | None:
    """Why the run should end: label accuracy in the window is surely (95 %) below `gold.floor`. None if it is not."""
    items = in_window(rows, config)
    right = sum(map(label_is_right, items))
    highest = wilson(right, len(items))[1]
    if config.gold is None or highest >= config.gold.floor:
        return None
    return (
        f"{right} of {len(items)} gold items in the window were labelled right (at most {100 * highest:.0f} %), "
        f"below the floor of {100 * config.gold.floor:.0f} %"
    )


def _labelled_items(rows: Sequence[LabelledQuestion], config: FilterConfig) -> list[LabelledQuestion]:
    """Gold items with a label and an agreement in the configured window."""
    labelled = [row for row in rows if row.target is not None and row.label is not None]
    return [item for item in labelled if config.low <= item.agreement <= config.high]


def _accuracy(items: Sequence[LabelledQuestion]) -> float:
    return sum(map(label_is_right, items)) / len(items)
