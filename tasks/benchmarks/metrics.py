"""The metrics of the benchmarks' authors, computed from which items are right.

All figures are in points (0..100), except counts. Definitions: We-Math (arXiv 2407.01284), DynaMath (2411.00836),
HallusionBench (2310.14566), MathVerse (2403.14624), MMMU-Pro (2409.02813). If only some items were scored, We-Math
counts the problems with all their steps, and the other metrics count the items that were scored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from tasks.records import Score

Metric = Literal["accuracy", "we-math", "dynamath", "hallusionbench", "mathverse", "mmmu-pro"]
GradedRow = tuple[Score, bool]
"""A row, and whether the answer that the metric counts (the greedy one, or one sample) is right."""


def metric_figures(metric: Metric, rows: Sequence[Score]) -> dict[str, float]:
    """The metric of the greedy answers; empty for `accuracy`."""
    return FIGURES[metric]([(row, row.greedy_correct) for row in rows])


def metric_means(metric: Metric, rows: Sequence[Score]) -> dict[str, float]:
    """The mean over the k samples of the metric of the k-th sample of every item; empty for `accuracy`."""
    runs = [FIGURES[metric]([(row, row.correct[k]) for row in rows]) for k in range(len(rows[0].correct))]
    return {name: float(np.mean([run[name] for run in runs])) for name in runs[0]} if runs else {}


def we_math(rows: Sequence[GradedRow]) -> dict[str, float]:
    """We-Math's four-way diagnosis. Each problem has 1-step parts and a whole (`multi`).

    IK (insufficient knowledge): the whole and a part are wrong. IG (inadequate generalization): all parts are right,
    the whole is wrong. CM (complete mastery): the whole is right, and so are all parts (strict) or one part (loose). RM
    (rote memorization): the whole is right without these parts. Score = (CM + IG / 2) / problems. RM is a share of CM +
    RM; IK, IG and CM are shares of the problems.
    """
    problems = [problem for problem in _we_math_problems(rows) if problem is not None]
    if not problems:
        return {"problems": 0.0}
    n = len(problems)
    ik = sum(not whole and not all(parts) for parts, whole in problems)
    ig = sum(not whole and all(parts) for parts, whole in problems)
    figures = {"problems": float(n), "IK": 100 * ik / n, "IG": 100 * ig / n}
    for name, mastered in (("strict", all), ("loose", any)):
        cm = sum(whole and mastered(parts) for parts, whole in problems)
        rm = n - ik - ig - cm
        figures[f"score ({name})"] = 100 * (cm + ig / 2) / n
        figures[f"CM ({name})"] = 100 * cm / n
        figures[f"RM ({name})"] = 100 * rm / (cm + rm) if cm + rm else 0.0
    figures["1-step"] = _points([part for parts, _ in problems for part in parts])
    for steps in (2, 3):
        figures[f"{steps}-step"] = _points([whole for parts, whole in problems if len(parts) == steps])
    return figures


def _we_math_problems(rows: Sequence[GradedRow]) -> list[tuple[list[bool], bool] | None]:
    """Which parts, and whether the whole, of each problem are right; None for a problem with a missing row.

    The attribute `step` is `2steps_1`, ..., `3steps_multi`.
    """
    groups: dict[str, dict[str, bool]] = defaultdict(dict)
    for row, right in rows:
        groups[row.attribute("problem")][row.attribute("step")] = right
    return [_we_math_problem(steps) for steps in groups.values()]


def _we_math_problem(steps: Mapping[str, bool]) -> tuple[list[bool], bool] | None:
    for n in (2, 3):
        keys = [f"{n}steps_{part}" for part in range(1, n + 1)]
        if {*keys, f"{n}steps_multi"} == steps.keys():
            return [steps[key] for key in keys], steps[f"{n}steps_multi"]
    return None


def dynamath(rows: Sequence[GradedRow]) -> dict[str, float]:
    """Average over all variants, and worst case: the share of seed questions that are right in all (ten) variants."""
    seeds = _by_attribute(rows, "seed")
    return {
        "average": _points([right for _, right in rows]),
        "worst case": _points([all(rights) for rights in seeds.values()]),
        "seed questions": float(len(seeds)),
        "fewest variants": float(min(map(len, seeds.values()))),
    }


def hallusionbench(rows: Sequence[GradedRow]) -> dict[str, float]:
    """aAcc: right questions. fAcc: figures with all their questions right. qAcc: questions right on all their figures.

    Groups are named by category and subcategory, as in the authors' code. VLMEvalKit leaves out the category, and so
    joins OCR sets of the same number. VLMEvalKit's leaderboard ranks by the mean of the three.
    """
    figures = {
        "aAcc": _points([right for _, right in rows]),
        "fAcc": _points([all(rights) for rights in _by_attribute(rows, "figure").values()]),
        "qAcc": _points([all(rights) for rights in _by_attribute(rows, "question").values()]),
    }
    return figures | {"mean of aAcc, fAcc and qAcc": float(np.mean(list(figures.values())))}


def mathverse(rows: Sequence[GradedRow]) -> dict[str, float]:
    """Accuracy on each version of the problems, and the mean over the versions with a picture."""
    versions = {name: _points(rights) for name, rights in sorted(_by_attribute(rows, "version").items())}
    return {**versions, "mean of versions": float(np.mean(list(versions.values())))}


def mmmu_pro(rows: Sequence[GradedRow]) -> dict[str, float]:
    """Accuracy with ten options, accuracy on pictures of the whole question (vision), and the mean of both."""
    settings = {name: _points(rights) for name, rights in sorted(_by_attribute(rows, "setting").items())}
    return {**settings, "mean of settings": float(np.mean(list(settings.values())))}


FIGURES: dict[Metric, Callable[[Sequence[GradedRow]], dict[str, float]]] = {
    "accuracy": lambda rows: {},
    "we-math": we_math,
    "dynamath": dynamath,
    "hallusionbench": hallusionbench,
    "mathverse": mathverse,
    "mmmu-pro": mmmu_pro,
}


def _by_attribute(rows: Sequence[GradedRow], attribute: str) -> dict[str, list[bool]]:
    groups: dict[str, list[bool]] = defaultdict(list)
    for row, right in rows:
        groups[row.attribute(attribute)].append(right)
    return groups


def _points(rights: Sequence[bool]) -> float:
    return 100 * float(np.mean(rights)) if rights else 0.0
