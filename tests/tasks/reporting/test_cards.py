from __future__ import annotations

from collections import Counter

from tasks.records import LabelledQuestion, Question, SearchResult
from tasks.reporting.cards import TRAINED, UNANSWERED, cards_of, votes_of
from tests.fixtures.made_round import made_round


def test_every_row_of_a_round_has_one_card() -> None:
    made = made_round(60)
    cards = cards_of(made.results, made.questions, made.labelled, made.verdicts)
    lost = [row for row in made.results if row.reason is not None]
    gold = [row for row in made.labelled if row.target is not None]
    assert Counter(card.show for card in cards) == {
        "questions": len(made.questions), "gold items": len(gold), "search losses": len(lost),
    }  # fmt: skip
    assert len({card.id for card in cards}) == len(cards)


def test_outcomes_count_as_the_reasons_of_the_stages() -> None:
    made = made_round(60)
    outcomes = Counter(card.outcome for card in cards_of(made.results, made.questions, made.labelled, made.verdicts))
    expected = Counter(row.reason or TRAINED for row in made.labelled)
    expected += Counter(f"synthesize: {row.reason}" for row in made.questions if row.reason)
    expected += Counter(f"search: {row.reason}" for row in made.results if row.reason)
    assert outcomes == expected


def test_a_card_joins_the_query_that_found_its_picture() -> None:
    pool = SearchResult(domain="d", query="a clock", key="k", rank=2, score=0.5, reason=None)
    other = pool.model_copy(update={"query": "a watch", "reason": "duplicate", "score": 0.4})
    question = Question(
        id="k#0", key="k", domain="d", kind="numeric_value", text="when?", answer="7", thought="t", raw="r", reason=None
    )
    asked, lost = cards_of([other, pool], [question], [], {})
    assert (asked.query, asked.rank, asked.outcome, asked.own_answer) == ("a clock", 2, UNANSWERED, "7")
    assert (lost.query, lost.outcome, lost.key) == ("a watch", "search: duplicate", "k")


def test_a_rejected_text_is_shown_as_the_model_wrote_it() -> None:
    question = Question(
        id="k#0", key="k", domain="d", kind=None, text="", answer="", thought="", raw="<nonsense", reason="no question"
    )
    (card,) = cards_of([], [question], [], {})
    assert (card.text, card.outcome, card.query) == ("<nonsense", "synthesize: no question", None)


def test_equal_answers_are_one_bar() -> None:
    assert votes_of(("1/2", "0.5", "0.5", "3", None, "")) == (("0.5", 3), ("3", 1), (None, 2))
    assert votes_of(()) == ()


def test_labelled_rows_alone_make_cards() -> None:
    row = LabelledQuestion(
        id="k#0",
        key="k",
        domain="d",
        kind="numeric_value",
        text="t",
        answers=("3",),
        label="3",
        agreement=1,
        reason=None,
    )
    (card,) = cards_of([], [], [row], {})
    assert (card.outcome, card.query, card.votes) == (TRAINED, None, (("3", 1),))
