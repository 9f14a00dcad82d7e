"""The benchmarks' own metrics, from which items were right. All figures in points (0..100), counts as they are.

Each has its published definition: We-Math (arXiv 2407.01284), DynaMath (2411.00836), HallusionBench (2310.14566),
MathVerse (2403.14624) and MMMU-Pro (2409.02813). Where only some items were asked, We-Math counts the problems that are
there with all their steps, and the others what there is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from tasks.records import Score

Metric = Literal["accuracy", "we-math", "dynamath", "hallusionbench", "mathverse", "mmmu-pro"]
Marked = tuple[Score, bool]
"""A row, and whether the answer in question is right."""


def own_figures(metric: Metric, rows: Sequence[Score]) -> dict[str, float]:
    """The metric of the greedy answers; empty where there is none beside accuracy."""
    return FIGURES[metric]([(row, row.greedy_correct) for row in rows])


def own_means(metric: Metric, rows: Sequence[Score]) -> dict[str, float]:
    """The metric of each of the k samples' runs, averaged over the runs."""
    runs = [FIGURES[metric]([(row, row.correct[k]) for row in rows]) for k in range(len(rows[0].correct))]
    return {name: float(np.mean([run[name] for run in runs])) for name in runs[0]} if runs else {}


def we_math(rows: Sequence[Marked]) -> dict[str, float]:
    """Of each problem its 1-step parts and the whole (`multi`): is it known, and does knowing the parts suffice?

    IK (insufficient knowledge): whole and a part wrong. IG (inadequate generalization): parts right, whole wrong. CM
    (complete mastery): whole right and parts right, strictly all of them, loosely one. RM (rote memorization): whole
    right without that. Score = (CM + IG / 2) / problems; RM in shares of CM + RM, all else in shares of the problems.
    """
    problems = [problem for problem in _problems(rows) if problem is not None]
    if not problems:
        return {"problems": 0.0}
    n = len(problems)
    ik = sum(not whole and not all(parts) for parts, whole in problems)
    ig = sum(not whole and all(parts) for parts, whole in problems)
    figures = {"problems": float(n), "IK": 100 * ik / n, "IG": 100 * ig / n}
    for name, known in (("strict", all), ("loose", any)):
        cm = sum(whole and known(parts) for parts, whole in problems)
        rm = n - ik - ig - cm
        figures[f"score ({name})"] = 100 * (cm + ig / 2) / n
        figures[f"CM ({name})"] = 100 * cm / n
        figures[f"RM ({name})"] = 100 * rm / (cm + rm) if cm + rm else 0.0
    figures["1-step"] = _points([part for parts, _ in problems for part in parts])
    for steps in (2, 3):
        figures[f"{steps}-step"] = _points([whole for parts, whole in problems if len(parts) == steps])
    return figures


def _problems(rows: Sequence[Marked]) -> list[tuple[list[bool], bool] | None]:
    """Parts and whole of each problem; None where a row of it is missing. Keys are `2steps_1`, ..., `3steps_multi`."""
    groups: dict[str, dict[str, bool]] = defaultdict(dict)
    for row, right in rows:
        groups[row.attribute("problem")][row.attribute("step")] = right
    return [_problem(steps) for steps in groups.values()]


def _problem(steps: Mapping[str, bool]) -> tuple[list[bool], bool] | None:
    for n in (2, 3):
        keys = [f"{n}steps_{part}" for part in range(1, n + 1)]
        if {*keys, f"{n}steps_multi"} == steps.keys():
            return [steps[key] for key in keys], steps[f"{n}steps_multi"]
    return None


def dynamath(rows: Sequence[Marked]) -> dict[str, float]:
    """Average over all variants; and the worst case: the share of seed questions right in every variant (ten)."""
    seeds = _together(rows, "seed")
    return {
        "average": _points([right for _, right in rows]),
        "worst case": _points([all(rights) for rights in seeds.values()]),
        "seed questions": float(len(seeds)),
        "fewest variants": float(min(map(len, seeds.values()))),
    }


def hallusionbench(rows: Sequence[Marked]) -> dict[str, float]:
    """aAcc: of all questions. fAcc: figures with all their questions right. qAcc: questions right on all their figures.

    Groups are told apart by category and subcategory as in the authors' code; VLMEvalKit leaves the category out and so
    joins OCR sets of the same number.
    """
    return {
        "aAcc": _points([right for _, right in rows]),
        "fAcc": _points([all(rights) for rights in _together(rows, "figure").values()]),
        "qAcc": _points([all(rights) for rights in _together(rows, "question").values()]),
    }


def mathverse(rows: Sequence[Marked]) -> dict[str, float]:
    """Accuracy on each version of the problems, and the mean over the versions that have a picture."""
    versions = {name: _points(rights) for name, rights in sorted(_together(rows, "version").items())}
    return {**versions, "mean of versions": float(np.mean(list(versions.values())))}


def mmmu_pro(rows: Sequence[Marked]) -> dict[str, float]:
    """Accuracy with ten options, on pictures of the whole question (vision), and the mean of both."""
    settings = {name: _points(rights) for name, rights in sorted(_together(rows, "setting").items())}
    return {**settings, "mean of settings": float(np.mean(list(settings.values())))}


FIGURES: dict[Metric, Callable[[Sequence[Marked]], dict[str, float]]] = {
    "accuracy": lambda rows: {},
    "we-math": we_math,
    "dynamath": dynamath,
    "hallusionbench": hallusionbench,
    "mathverse": mathverse,
    "mmmu-pro": mmmu_pro,
}


def _together(rows: Sequence[Marked], attribute: str) -> dict[str, list[bool]]:
    groups: dict[str, list[bool]] = defaultdict(list)
    for row, right in rows:
        groups[row.attribute(attribute)].append(right)
    return groups


def _points(rights: Sequence[bool]) -> float:
    return 100 * float(np.mean(rights)) if rights else 0.0
