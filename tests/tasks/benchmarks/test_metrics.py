"""The metrics of the benchmarks' authors agree with independent computations of their definitions."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.benchmarks.metrics import Metric, metric_figures, metric_means
from tasks.records import Score

bits = st.booleans()


def row(right: bool, *attributes: str, correct: tuple[bool, ...] = ()) -> Score:
    return Score(
        benchmark="b", id="/".join(attributes), domain="d", target="1", greedy="1", greedy_correct=right,
        samples=("1",) * len(correct), sample_accuracy=0, majority_correct=right, correct=correct,
        attributes=attributes,
    )  # fmt: skip


def problem(name: str, parts: tuple[bool, ...], whole: bool) -> list[Score]:
    n = len(parts)
    steps = [(f"{n}steps_{i}", right) for i, right in enumerate(parts, 1)] + [(f"{n}steps_multi", whole)]
    return [row(right, f"problem={name}", f"step={step}") for step, right in steps]


@given(
    st.lists(st.tuples(st.one_of(st.tuples(bits, bits), st.tuples(bits, bits, bits)), bits), min_size=1, max_size=30)
)
def test_we_maths_scores_follow_the_published_formula(problems: list[tuple[tuple[bool, ...], bool]]) -> None:
    """Score = (N - IG / 2 - RM - IK) / N, the four kinds as in the authors' code."""
    n = len(problems)
    figures = metric_figures(
        "we-math", [r for i, (parts, whole) in enumerate(problems) for r in problem(str(i), parts, whole)]
    )
    ig = sum(all(parts) and not whole for parts, whole in problems)
    ik = sum(not all(parts) and not whole for parts, whole in problems)
    rote = {
        "strict": sum(not all(parts) and whole for parts, whole in problems),
        "loose": sum(not any(parts) and whole for parts, whole in problems),
    }
    for name, rm in rote.items():
        cm = n - ig - ik - rm
        assert figures[f"score ({name})"] == pytest.approx(100 * (n - ig / 2 - rm - ik) / n)
        assert figures[f"CM ({name})"] == pytest.approx(100 * cm / n)
        assert figures[f"RM ({name})"] == pytest.approx(100 * rm / (rm + cm) if rm + cm else 0)
    assert (figures["IG"], figures["IK"]) == (pytest.approx(100 * ig / n), pytest.approx(100 * ik / n))
    assert figures["score (loose)"] >= figures["score (strict)"]


def test_we_math_leaves_out_problems_with_missing_steps() -> None:
    rows = [
        *problem("a", (True, False), True),
        *problem("b", (True, True, True), False),
        *problem("c", (True, True), True)[:-1],
    ]
    figures = metric_figures("we-math", rows)
    assert figures["problems"] == 2
    assert (figures["1-step"], figures["2-step"], figures["3-step"]) == (80, 100, 0)
    assert (figures["score (strict)"], figures["score (loose)"]) == (25, 75)
    assert metric_figures("we-math", rows[-2:]) == {"problems": 0}


def test_dynamaths_worst_case_needs_all_ten_variants() -> None:
    rows = [row(not (seed == "b" and variant == 7), f"seed={seed}") for seed in "ab" for variant in range(10)]
    assert metric_figures("dynamath", rows) == {
        "average": 95, "worst case": 50, "seed questions": 2, "fewest variants": 10,
    }  # fmt: skip


def test_hallusionbench_counts_whole_figures_and_questions() -> None:
    rows = [
        row(right, f"figure=VD/ocr/0/{figure}", f"question=VD/ocr/0/{question}")
        for (figure, question), right in zip(
            itertools.product((0, 1), (0, 1, 2)), (True, True, True, True, False, True), strict=True
        )
    ]
    figures = metric_figures("hallusionbench", rows)
    assert figures == {"aAcc": pytest.approx(500 / 6), "fAcc": 50, "qAcc": pytest.approx(200 / 3),
                       "mean of aAcc, fAcc and qAcc": pytest.approx(200 / 3)}  # fmt: skip


@pytest.mark.parametrize(("metric", "attribute", "mean"), [
    ("mathverse", "version", "mean of versions"), ("mmmu-pro", "setting", "mean of settings"),
])  # fmt: skip
def test_the_mean_weighs_all_parts_equally(metric: Metric, attribute: str, mean: str) -> None:
    rows = [row(True, f"{attribute}=a")] * 3 + [row(False, f"{attribute}=b")]
    assert metric_figures(metric, rows) == {"a": 100, "b": 0, mean: 50}


def test_worst_cases_are_averaged_over_the_samples() -> None:
    rows = [row(True, "seed=a", correct=(True, False)), row(True, "seed=a", correct=(True, True))]
    assert metric_means("dynamath", rows) == {
        "average": 75, "worst case": 50, "seed questions": 1, "fewest variants": 2,
    }  # fmt: skip


def test_accuracy_has_no_further_figures() -> None:
    assert metric_figures("accuracy", [row(True)]) == {} == metric_means("accuracy", [row(True, correct=(True,))])
