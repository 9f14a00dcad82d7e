"""Pseudo-labels, the window, and the quota of a domain."""

from __future__ import annotations

import pytest

from tasks.config import FilterConfig
from tasks.filter import PseudoLabel, check_grounding, check_trust, curriculum, label_of, within_quota
from tasks.records import LabelledQuestion

CONFIG = FilterConfig(answers=10, low=0.3, high=0.8)


def answers(right: int, wrong: int = 0, silent: int = 0) -> tuple[str | None, ...]:
    """`right` times 7, `wrong` different other numbers, `silent` replies without an answer."""
    return ("7",) * right + tuple(str(100 + n) for n in range(wrong)) + (None,) * silent


@pytest.mark.parametrize(
    ("given", "agreement", "reason"),
    [
        (answers(10), 1.0, "too easy"),
        (answers(9, 1), 0.9, "too easy"),
        (answers(8, 2), 0.8, None),
        (answers(5, 5), 0.5, None),
        (answers(3, 7), 0.3, None),
        (answers(2, 8), 0.2, "too hard"),
        (answers(5, 0, 5), 0.5, None),
    ],
)
def test_only_agreements_in_the_window_are_kept(
    given: tuple[str | None, ...], agreement: float, reason: str | None
) -> None:
    assert label_of(given, CONFIG) == PseudoLabel("7", pytest.approx(agreement), reason)


def test_a_tie_has_no_label() -> None:
    assert label_of(("1", "2", "1", "2"), CONFIG) == PseudoLabel(None, 0.5, "no majority")


def test_replies_without_any_answer_give_no_label() -> None:
    assert label_of(answers(0, 0, 10), CONFIG) == PseudoLabel(None, 0.0, "no answer")


def row(number: int, domain: str, reason: str | None = None) -> LabelledQuestion:
    return LabelledQuestion(
        id=f"0/{number}#0", key=f"0/{number}", domain=domain, kind="numeric_value", text="?", answers=("1",), label="1",
        agreement=0.5, reason=reason,
    )  # fmt: skip


def test_a_question_that_needs_no_picture_is_rejected() -> None:
    rows = [row(0, "maps"), row(1, "maps"), row(2, "maps", "too easy"), row(3, "maps")]
    blind = {0: ("1", "1", "1", "2"), 1: ("1", "2", None, "2")}
    checked = check_grounding(rows, blind, CONFIG.leakage)
    assert [question.reason for question in checked] == ["not grounded", None, "too easy", None]


def test_no_domain_fills_the_curriculum() -> None:
    rows = within_quota([*(row(n, "clocks") for n in range(16)), *(row(n, "maps") for n in range(16, 20))], 0.4)
    kept = curriculum(rows)
    assert [sum(question.domain == name for question in kept) for name in ("clocks", "maps")] == [8, 4]
    assert sum(question.reason == "over quota" for question in rows) == 8


def test_the_quota_ignores_questions_outside_the_window() -> None:
    rows = within_quota([row(0, "maps"), row(1, "clocks"), *(row(n, "clocks", "too easy") for n in range(2, 9))], 0.5)
    assert [question.reason for question in rows] == [None, None, *["too easy"] * 7]


def test_a_share_of_one_sets_no_limit() -> None:
    assert len(curriculum(within_quota([row(n, "maps") for n in range(9)], 1.0))) == 9


def test_the_quota_does_not_depend_on_the_order_of_questions() -> None:
    rows = [row(n, "maps") for n in range(12)]
    forward, backward = within_quota(rows, 0.5), within_quota(rows[::-1], 0.5)
    assert {question.id for question in curriculum(forward)} == {question.id for question in curriculum(backward)}


def test_a_label_below_the_gold_items_floor_does_not_train() -> None:
    low, high = row(0, "maps"), row(1, "maps").model_copy(update={"agreement": 0.7})
    assert [check_trust(question, 0.6).reason for question in (low, high)] == ["label not trusted", None]
