"""Leakage checks reject a question that was asked before or that gives its answer away."""

from __future__ import annotations

import pytest

from tasks.config import FilterConfig, LeakageConfig
from tasks.filter import check_leakage
from tasks.labelling.leakage import blind_share, gives_away, trained_questions
from tasks.records import LabelledQuestion


def labelled(
    text: str = "how many dots?", label: str = "7", key: str = "0/1", reason: str | None = None
) -> LabelledQuestion:
    return LabelledQuestion(
        id=f"{key}#0", key=key, domain="maps", kind="numeric_value", text=text, answers=(label,), label=label,
        agreement=0.7, reason=reason,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("question", "label"),
    [
        ("How many dots are there? The answer is 7.", "7"),
        ("what color is the red bar?", "red"),
        ("hint: 12. what is the sum?", "12"),
        ("The Eiffel Tower stands in which city? Paris has it.", "paris"),
        (r"what is x if \boxed{4}?", "4"),
    ],
)
def test_a_question_that_contains_its_answer_is_found(question: str, label: str) -> None:
    assert gives_away(question, label)


@pytest.mark.parametrize(
    ("question", "label"),
    [
        ("what digit is in row 2 column 3?", "2"),
        ("do the fins of the top line point in or out?", "in"),
        ("do the fins of the top line point in or out?", "out"),
        ("is it a cat, a dog, or a horse?", "cat"),
        ("which is larger? (A) red (B) blue", "red"),
        ("is there no cat?", "no"),
        ("what colour is the reddish bar?", "red"),
        ("what time will it be in 15 minutes?", "15"),
        ("which point is marked a?", "a"),
    ],
)
def test_choices_and_numbers_in_a_question_are_no_leak(question: str, label: str) -> None:
    assert not gives_away(question, label)


def test_a_question_that_the_team_trained_on_is_rejected() -> None:
    known = trained_questions([labelled("How many  dots?"), labelled("how many lines?", reason="too easy")])
    reasons = [
        check_leakage(question, known, LeakageConfig()).reason
        for question in (labelled(), labelled(key="0/2"), labelled("how many lines?"), labelled(reason="too hard"))
    ]
    assert reasons == ["asked before", None, None, "too hard"]


def test_a_check_that_is_off_rejects_nothing() -> None:
    off = FilterConfig().leakage.model_copy(update={"asked_before": False, "given_away": False})
    given = labelled("the answer is 7, how many dots?")
    assert check_leakage(given, trained_questions([given]), off).reason is None


def test_blind_answers_count_by_meaning() -> None:
    assert blind_share(["seven", "7", None, "8"], "7") == 0.5
    assert blind_share([], "7") == 0
