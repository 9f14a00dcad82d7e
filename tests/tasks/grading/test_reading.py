"""Answers read from replies: boxes and options."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.grading import choose_option, choose_options, extract_answer

COLOURS = ["red", "green", "blue", "yellow"]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so \\boxed{5}.", "5"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{1} or rather \\boxed{2}", "2"),
        ("\\boxed{\\boxed{3}}", "3"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\boxed{\\text{no dogs}}", "\\text{no dogs}"),
        ("\\boxed 5", "5"),
        ("\\boxed{1} and then \\boxed{2", None),
        ("\\boxed{\\boxed{3}", "3"),
        ("<think>\\boxed{1}</think> It is 1.", None),
        ("<think>\\boxed{1}</think> It is \\boxed{2}.", "2"),
        ("<think> It may be \\boxed{1}", None),
        ("\\boxed{}", None),
        ("\\boxed{", None),
        ("the answer is 5", None),
        ("", None),
    ],
)
def test_the_answer_is_the_content_of_the_last_box(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


def test_a_hundred_thousand_open_boxes_take_no_time() -> None:
    start = time.process_time()
    assert extract_answer("\\boxed{" * 100_000) is None
    assert time.process_time() - start < 2


CHOICES = [
    ("B", "B"), ("b", "B"), ("(c)", "C"), ("B.", "B"), ("**C**", "C"), ("B. green", "B"), ("blue", "C"), ("A", "A"),
    ("The answer is B.", "B"), ("Answer: B) green", "B"), ("answer: (d)", "D"), ("Final answer: b", "B"),
    ("答案是B", "B"), ("答案：C", "C"), ("故选D", "D"), ("正确答案是 A。", "A"), ("应该选择B选项", "B"),
    ("不是A而是B", "B"),
    ("not A but B", "B"), ("The answer is not A but B", "B"), ("It is not A, it is C.", "C"), ("B rather than A", "B"),
    ("A is wrong, so the answer is C", "C"), ("A, B and D are wrong; C is correct", "C"), ("I think it is blue", "C"),
    ("We can eliminate A and B, leaving C and D. Therefore D.", "D"), ("Neither A nor B. It must be D", "D"),
    ("I first thought A, but the answer is B", "B"), ("The answer is A. Wait, actually the answer is B.", "B"),
    ("\\boxed{C}", "C"), ("\\boxed{\\text{B}}", "B"), ("so \\boxed{blue}", "C"), ("Option C is correct", "C"),
    ("I would choose option b", "B"), ("I'd go with D", "D"), ("The correct option is (A).", "A"), ("a red car", "A"),
    ("Option A shows red. Option B shows green. The best match is option B.", "B"), ("not red but blue", "C"),
    ("B is the right answer, A is not.", "B"), ("C, because the sky is blue", "C"),
]  # fmt: skip
ABSTAINS = [
    "", "E", "A or B", "The answer is A or B", "A, B and D are incorrect.", "B. blue", "A dog is in the picture",
    "I don't know", "It is not red", "Is it B?", "red and blue", "the answer isn't C",
]  # fmt: skip


@pytest.mark.parametrize(("text", "letter"), CHOICES)
def test_prose_chooses_its_option(text: str, letter: str) -> None:
    assert choose_option(text, COLOURS) == letter


@pytest.mark.parametrize("text", ABSTAINS)
def test_unclear_prose_chooses_nothing(text: str) -> None:
    assert choose_option(text, COLOURS) is None


def test_a_value_without_unit_chooses_if_one_option_fits() -> None:
    assert choose_option("5", {"A": "5 cm", "B": "6 cm"}) == "A"
    assert choose_option("5", {"A": "5 cm", "B": "5 mm"}) is None


@given(st.text(max_size=80))
@settings(max_examples=80, deadline=None)
def test_any_text_chooses_an_option_or_none(text: str) -> None:
    assert choose_option(text, COLOURS) in ("A", "B", "C", "D", None)
    extract_answer(text)


OPTIONS = dict(
    zip("ABCDEFGHIJKLM", ["red", "green", "blue"] + [f"shape {number}" for number in range(10)], strict=True)
)


@pytest.mark.parametrize(("reply", "letters"), [
    ("**A, C**", "AC"), ("both A and C are correct", "AC"), ("The answers are A and D.", "AD"), ("K and L", "KL"),
    ("A and C are wrong, so B and D", "BD"), ("A, B and C are correct; D is not", "ABC"),
    ("A is correct. C is also correct.", "AC"), ("I cannot tell", ""),
])  # fmt: skip
def test_several_letters_are_read_in_prose(reply: str, letters: str) -> None:
    assert choose_options(reply, OPTIONS) == letters


@pytest.mark.parametrize(("reply", "letter"), [("(L)", "L"), ("I think it is K", "K"), ("Option M is correct", "M")])
def test_options_go_beyond_ten(reply: str, letter: str) -> None:
    assert choose_option(reply, OPTIONS) == letter
