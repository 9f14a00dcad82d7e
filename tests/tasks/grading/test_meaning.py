"""Two answers are never equal because a comparison lost something: a sign, a bracket, a digit, a letter's case."""

from __future__ import annotations

import random
import re

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


ATOMS = st.sampled_from(["x", "y", "w", "k", "2", "3", "5", "7", "12", "\\pi", "\\sqrt{3}"])


FORMS = ["{} + {}", "{} - {}", "\\frac{{{}}}{{{}}}", "({}) \\cdot ({})"]
STRUCTURES = ["({}, {}]", "f({}) = {}", "[{}, {})", "{} < x \\le {}", "\\{{{}, {}\\}}", "({}, {})"]
CHANGES = {"+": "-", "-": "+", "(": "[", "[": "(", ")": "]", "]": ")", "2": "4", "3": "8", "5": "6", "7": "9"} | {
    letter: letter.upper() for letter in "xywk"
}


def _filled(forms: list[str], part: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(lambda form, one, other: form.format(one, other), st.sampled_from(forms), part, part)


@st.composite
def _changes(draw: st.DrawFn, texts: st.SearchStrategy[str], kept: str = "") -> tuple[str, str]:
    """A text, and the text with one sign, bracket, digit or letter changed, except letters of commands."""
    text = draw(texts)
    commands = [match.span() for match in re.finditer(r"\\[a-z]+", text)]
    free = [
        place
        for place, letter in enumerate(text)
        if letter in CHANGES and letter not in kept and not any(a <= place < b for a, b in commands)
    ]
    place = draw(st.sampled_from(free)) if free else None
    return (text, "") if place is None else (text, text[:place] + CHANGES[text[place]] + text[place + 1 :])


@given(_changes(_filled(STRUCTURES, ATOMS).filter(lambda text: "(x) =" not in text)))
@settings(max_examples=300, deadline=None)
def test_one_changed_character_of_a_structure_is_another_answer(texts: tuple[str, str]) -> None:
    assert not equal(*texts)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@given(_changes(st.recursive(ATOMS, lambda part: _filled(FORMS, part), max_leaves=5), kept="()"))
@settings(max_examples=300, deadline=None)
def test_one_changed_character_of_an_expression_is_another_answer(texts: tuple[str, str]) -> None:
    """Unless the two have the same value at random points: `x - x` equals `y - y`."""
    if equal(*texts):
        assert [_value(texts[0], seed) for seed in range(3)] == pytest.approx([_value(texts[1], s) for s in range(3)])


def _value(text: str, seed: int) -> float:
    """The value of an arithmetic expression where each letter is a random number."""
    numbers = random.Random(seed)
    names = {name: numbers.uniform(1, 2) for name in "xywkXYWK"}
    plain = text.replace("\\pi", "(3.14159265358979)").replace("\\sqrt{3}", "(3**0.5)").replace("\\cdot", "*")
    while "\\frac" in plain:
        plain = re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r"((\1)/(\2))", plain)
    return float(eval(plain, {"__builtins__": {}}, names))  # this test made the text
