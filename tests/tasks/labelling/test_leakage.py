"""What keeps a labelled question from training."""

from __future__ import annotations

import pytest

from tasks.config import FilterConfig, LeakageConfig
from tasks.filter import told_apart
from tasks.labelling.leakage import asked, blind_share, gives_away
from tasks.records import LabelledQuestion


def verdict(
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
def test_a_question_in_which_the_answer_stands_is_found(question: str, label: str) -> None:
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
def test_what_a_question_offers_counts_or_points_with_is_no_leak(question: str, label: str) -> None:
    assert not gives_away(question, label)


def test_what_this_team_has_trained_on_is_not_asked_again() -> None:
    known = asked([verdict("How many  dots?"), verdict("how many lines?", reason="too easy")])
    reasons = [
        told_apart(one, known, LeakageConfig()).reason
        for one in (verdict(), verdict(key="0/2"), verdict("how many lines?"), verdict(reason="too hard"))
    ]
    assert reasons == ["asked before", None, None, "too hard"]


def test_a_check_that_is_off_drops_nothing() -> None:
    off = FilterConfig().leakage.model_copy(update={"asked_before": False, "given_away": False})
    given = verdict("the answer is 7, how many dots?")
    assert told_apart(given, asked([given]), off).reason is None


def test_blind_answers_count_by_what_they_say() -> None:
    assert blind_share(["seven", "7", None, "8"], "7") == 0.5
    assert blind_share([], "7") == 0
