"""Items whose answer is known, mixed unmarked into every labelling batch: how far can this round's labels be trusted?

Self-play is taught by its own majority, and labels rot (in R-Zero, 79 -> 69 -> 63 % are right over three rounds). A
gold item is put to the Solver like any question, in the same batch and by the same draw; its label is then compared
with the known answer. Gold items stay in the filter's file with the reason `gold item` and never train. What they say
stands in every report, and a run ends when the labels that train are surely right less often than a floor.
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
    """As many items as make `share` of the batch, or all that there are; others in every round."""
    wanted = math.ceil(share / (1 - share) * questions)
    return Random(seed).sample(list(items), min(wanted, len(items)))


def gold_items(verdicts: Sequence[LabelledQuestion]) -> list[LabelledQuestion]:
    """The rows whose answer was known."""
    return [one for one in verdicts if one.target is not None]


def in_window(verdicts: Sequence[LabelledQuestion], config: FilterConfig) -> list[LabelledQuestion]:
    """Gold items that would have trained, had they been questions: with a label, and an agreement that is trusted."""
    floor = trusted_from(verdicts, config)
    return [one for one in _labelled(verdicts, config) if one.agreement >= floor]


def trusted_from(verdicts: Sequence[LabelledQuestion], config: FilterConfig) -> float:
    """The least agreement in the window from which on gold items are labelled right as often as `gold.trust` asks.

    A Solver that has learned agrees with itself more often without being right more often, so a window that held good
    labels in one round holds worse ones in the next. Where no agreement is high enough, the highest one is left.
    """
    told = _labelled(verdicts, config)
    if config.gold is None or not told:
        return config.low
    levels = sorted({one.agreement for one in told})
    trusted = (
        level for level in levels if _share([one for one in told if one.agreement >= level]) >= config.gold.trust
    )
    floor = next(trusted, levels[-1])
    return config.low if floor == levels[0] else floor


def _labelled(verdicts: Sequence[LabelledQuestion], config: FilterConfig) -> list[LabelledQuestion]:
    return [one for one in gold_items(verdicts) if one.label is not None and config.low <= one.agreement <= config.high]


def _share(told: Sequence[LabelledQuestion]) -> float:
    return sum(map(right, told)) / len(told)


def right(item: LabelledQuestion) -> bool:
    """Whether the pseudo-label is the known answer."""
    known = item.label is not None and item.target is not None
    return known and equal(str(item.label), str(item.target)).equal


def rotten(verdicts: Sequence[LabelledQuestion], config: FilterConfig) -> str | None:
    """Why the run should end: the labels in the window are surely (95 %) right less often than the floor; else None."""
    told = in_window(verdicts, config)
    good = sum(map(right, told))
    high = wilson(good, len(told))[1]
    if config.gold is None or high >= config.gold.floor:
        return None
    return (
        f"of {len(told)} gold items in the window {good} were labelled right (at most {100 * high:.0f} %), "
        f"below the floor of {100 * config.gold.floor:.0f} %"
    )
