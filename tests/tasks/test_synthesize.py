"""The Questioner's texts as rows."""

from __future__ import annotations

from tasks.records import SearchResult
from tasks.synthesize import questions_about

RESULT = SearchResult(domain="bar charts", query="bars", key="00000/7", rank=1, score=0.5, reason=None)


def text(question: str) -> str:
    return f"<think>t</think><type>numeric_value</type><question>{question}</question><answer>3</answer>"


def test_every_text_becomes_a_row_of_its_picture() -> None:
    rows = questions_about(RESULT, [text("sum ?"), "nonsense"])
    assert [(row.id, row.key, row.domain, row.reason) for row in rows] == [
        ("00000/7#0", "00000/7", "bar charts", None),
        ("00000/7#1", "00000/7", "bar charts", "no question"),
    ]
    assert rows[1].kind is None
    assert rows[1].raw == "nonsense"


def test_a_repeated_question_is_a_duplicate_whatever_its_case() -> None:
    rows = questions_about(RESULT, [text("Sum ?"), text("sum  ?"), text("least ?")])
    assert [row.reason for row in rows] == [None, "duplicate", None]


def test_two_unparsed_texts_are_not_duplicates_of_each_other() -> None:
    assert [row.reason for row in questions_about(RESULT, ["x", "x"])] == ["no question", "no question"]
