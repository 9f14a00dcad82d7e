"""Two answers are never equal because a comparison lost something: a sign, a bracket, a digit, a letter's case."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.grading import equal

NUMBERS = st.integers(2, 99).map(str) | st.decimals("0.11", "99.9", places=1).map(str)
PHRASES = st.sampled_from(
    ["slope {}", "shifted by {} units", "vertex at ({}, 7)", "increasing on ({}, 200]", "domain: [{}, 300) and a hole",
     "the temperature was {} °C", "center (8, {}) and radius 2", "a list of {} and more words"]
)  # fmt: skip
COMMANDS = st.sampled_from(["\\lfloor {} \\rfloor", "\\det({}A)", "\\erf({})"])
"""LaTeX that no reader knows: it is compared as it is written, so that 85 is not 85.0 there."""


@given(PHRASES | COMMANDS, NUMBERS)
@settings(max_examples=200, deadline=None)
@example("slope {}", "2")
def test_a_flipped_sign_in_a_phrase_is_another_answer(phrase: str, number: str) -> None:
    assert not equal(phrase.format(number), phrase.format(f"-{number}"))


@given(PHRASES, NUMBERS, NUMBERS)
@settings(max_examples=200, deadline=None)
def test_another_number_in_a_phrase_is_another_answer(phrase: str, one: str, other: str) -> None:
    assert bool(equal(phrase.format(one), phrase.format(other))) == (float(one) == float(other))


@given(st.sampled_from(["[-4, 0) and (1, 2]", "f on (3, 5] only", "on [1, 2) or later"]), st.data())
@settings(max_examples=100, deadline=None)
def test_a_flipped_bracket_in_a_phrase_is_another_answer(phrase: str, data: st.DataObject) -> None:
    other = {"[": "(", "(": "[", "]": ")", ")": "]"}
    position = data.draw(st.sampled_from([place for place, letter in enumerate(phrase) if letter in other]))
    flipped = phrase[:position] + other[phrase[position]] + phrase[position + 1 :]
    assert not equal(f"increasing, that is {phrase}", f"increasing, that is {flipped}")


@given(
    st.sampled_from("bcdfghjmnpqrtuvwyz"), st.sampled_from(["\\frac{%s}{7}", "%s^2+1", "vitamin %s", "5 m%s", "2%s"])
)
@settings(max_examples=100, deadline=None)
def test_another_case_of_a_symbol_is_another_answer(letter: str, text: str) -> None:
    assert not equal(text % letter, text % letter.upper())


@pytest.mark.parametrize(
    ("one", "other"),
    [("\\frac{a}{2}", "a"), ("A - B", "A"), ("(b)(c)", "b"), ("True, False", "True, True"), ("No. 5", "No. 7"),
     ("No. 5", "no"), ("CO", "Co"), ("NO3-", "NO3"), ("Plan A", "plan"), ("10/2/2020", "5/1/2020"), ("5 MeV", "5 meV"),
     ("f(2) = 5", "f(3) = 5"), ("2\\frac{1}{3}\\pi", "\\frac{2}{3}\\pi"), (f"{'9, ' * 99}-1", f"{'9, ' * 99}1")],
)  # fmt: skip
def test_what_a_letter_or_a_word_swallowed_counts(one: str, other: str) -> None:
    assert not equal(one, other)
    assert not equal(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [("P(A) = 1/3", "1/3"), ("f'(x) = 2x", "2x"), ("m\\angle A = 45^\\circ", "45°"), ("AC:CB = 2:3", "2:3"),
     ("\\frac{dy}{dx} = 2x", "2x"), ("12/25/2020", "December 25, 2020"), ("2\\frac{1}{3}\\pi", "\\frac{7\\pi}{3}"),
     ("the dog (brown)", "the dog brown"), ("A dog", "dog"), ("U.S.A.", "USA")],
)  # fmt: skip
def test_what_differs_in_writing_alone_is_equal(one: str, other: str) -> None:
    assert equal(one, other)
    assert equal(other, one)
