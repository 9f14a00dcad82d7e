"""Majority votes over several answers."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.grading import vote

ANSWERS = [
    "5", "5.0", "five", "5 cm", "5 mm", "50 mm", "50%", "0.5", "50", "no dogs", "no cats", "no", "B", "B. cat", "cat",
    "x = 5", "y = 5", None, "", "None", "3:05", "3:05 pm", "3:05 am", "1, 2", "(1, 2)", "(2, 1)",
]  # fmt: skip


def test_the_majority_answer_is_the_label() -> None:
    result = vote(["4", "four", "5", "4.0"])
    assert (result.label, result.agreement, result.tie) == ("4", 0.75, False)
    assert result.groups == ((0, 1, 3), (2,))


def test_a_tie_gives_no_label() -> None:
    result = vote(["red", "blue", "red", "blue", "green"])
    assert result.label is None and result.tie
    assert result.agreement == 0.4


def test_unparsed_answers_count_in_the_denominator() -> None:
    assert vote(["red", None, None, ""]).agreement == 0.25
    assert vote(["red", None, None, ""]).label == "red"


def test_without_an_answer_there_is_no_label_and_no_tie() -> None:
    for answers in ([], [None, None], ["", "None"]):
        result = vote(answers)
        assert (result.label, result.agreement, result.groups, result.tie) == (None, 0.0, (), False)


def test_answers_that_share_a_no_are_not_one_group() -> None:
    assert sorted(vote(["no dogs", "no cats", "piano keys"]).groups) == [(0,), (1,), (2,)]


def test_a_component_that_is_no_clique_splits_into_exact_forms() -> None:
    result = vote(["5 cm", "5", "5 mm", "5 cm"])
    assert result.label == "5 cm" and result.agreement == 0.5
    assert sorted(map(len, result.groups)) == [1, 1, 2]


@given(st.lists(st.sampled_from(ANSWERS), max_size=12), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_a_vote_does_not_depend_on_the_order(answers: list[str | None], shuffler: random.Random) -> None:
    expected = vote(answers)
    for _ in range(5):
        order = list(range(len(answers)))
        shuffler.shuffle(order)
        result = vote([answers[k] for k in order])
        assert (result.label, result.agreement, result.tie) == (expected.label, expected.agreement, expected.tie)
        groups = {frozenset(order[k] for k in group) for group in result.groups}
        assert groups == {frozenset(group) for group in expected.groups}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_thousand_votes_do_not_depend_on_fifty_orders_each() -> None:
    pool: list[str | None] = [
        *ANSWERS,
        "2x+1",
        "1+2x",
        "√8",
        "2√2",
        "2.828427",
        "1/3",
        "0.333333",
        "0.3333333",
        "30°",
        "30 °C",
    ]
    rng = random.Random(0)
    for _ in range(1000):
        answers = rng.choices(pool, k=rng.randrange(1, 13))
        expected = vote(answers)
        for _ in range(50):
            shuffled = vote(rng.sample(answers, len(answers)))
            assert (shuffled.label, shuffled.agreement, shuffled.tie) == (
                expected.label,
                expected.agreement,
                expected.tie,
            )
            assert sorted(map(len, shuffled.groups)) == sorted(map(len, expected.groups))


def test_a_vote_stops_using_the_algebra_after_three_time_outs(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[object] = []
    monkeypatch.setattr("tasks.grading.equality.algebra_outcome", lambda *pair: compared.append(pair) or "time-out")
    result = vote([f"x+{k}y" for k in range(9)])
    assert len(result.groups) == 9
    assert len(compared) == 3
    assert result.unknown == 36, "each pair that nobody compared is counted"


@pytest.mark.parametrize("answers", [["5", "5 cm", "5"], ["B", "B. cat", "b"]])
def test_incomplete_answers_join_the_complete_ones(answers: list[str | None]) -> None:
    assert vote(answers).agreement == 1
