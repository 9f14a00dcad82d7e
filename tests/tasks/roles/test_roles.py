"""Prompts, parsers and format checks of the three roles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.records import Reject
from tasks.records.prompt import Prompt
from tasks.roles import questioner, searcher, solver
from tasks.roles.questioner import ParsedQuestion, QuestionerTemplate
from tasks.roles.searcher import Domain, Query, SearcherTemplate
from tasks.roles.solver import SolverTemplate

QUESTION = "<think>two bars</think><type>numeric_value</type><question>sum ?</question><answer>7</answer>"


def test_a_prompt_is_the_template_filled_in() -> None:
    template = SearcherTemplate(user="search : {{ domain.name }}", max_tokens=8)
    assert searcher.prompt(template, Domain(name="bar charts")) == Prompt(user="search : bar charts")


def test_the_solvers_template_may_be_the_bare_question() -> None:
    assert (
        solver.prompt(SolverTemplate(user="{{ question }}", max_tokens=8), "a < b ?", "short_answer").user == "a < b ?"
    )


def test_a_template_that_names_an_unknown_variable_is_refused() -> None:
    with pytest.raises(ValidationError, match="unknown variable domain"):
        QuestionerTemplate(user="ask {{ domain }}", max_tokens=8)


def test_a_template_that_does_not_parse_is_refused() -> None:
    with pytest.raises(ValidationError, match="does not parse"):
        SolverTemplate(user="{{ question", max_tokens=8)


@pytest.mark.parametrize(
    "text", ["<type>a</type><query>red  bars</query>", " <type> a </type>\n<query>\nred bars </query> "]
)
def test_white_space_around_a_querys_tags_is_ignored(text: str) -> None:
    assert searcher.parse(text) == Query("red bars")
    assert searcher.well_formed(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("bars", "no query"),
        ("<query>bars", "no query"),
        ("<type>a</type><query> </query>", "empty query"),
        ("<query>a</query><query>b</query>", "several queries"),
    ],
)
def test_unusable_queries_are_rejected_with_a_reason(text: str, reason: str) -> None:
    assert searcher.parse(text) == Reject(reason=reason)
    assert not searcher.well_formed(text)


def test_a_query_without_its_type_is_usable_but_not_well_formed() -> None:
    assert searcher.parse("<query>bars</query>") == Query("bars")
    assert not searcher.well_formed("<query>bars</query>")


def test_a_question_is_parsed_with_kind_answer_and_thought() -> None:
    assert questioner.parse(QUESTION) == ParsedQuestion("sum ?", "numeric_value", "7", "two bars")
    assert questioner.well_formed(QUESTION)


def test_a_question_about_a_box_is_a_question() -> None:
    assert isinstance(questioner.parse(QUESTION.replace("sum ?", "median of the box plot ?")), ParsedQuestion)


def test_a_tag_in_the_thought_is_not_the_question() -> None:
    text = QUESTION.replace("two bars", "I write <question>x</question> later")
    question = questioner.parse(text)
    assert isinstance(question, ParsedQuestion)
    assert question.text == "sum ?"
    assert not questioner.well_formed(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no question"),
        ("<think>x</think>", "no question"),
        (QUESTION.replace("sum ?", " "), "empty question"),
        (QUESTION + "<question>more ?</question>", "several questions"),
        (QUESTION.replace("numeric_value", "essay"), "unknown answer type"),
        (QUESTION.replace("<type>numeric_value</type>", ""), "no answer type"),
    ],
)
def test_unusable_questions_are_rejected_with_a_reason(text: str, reason: str) -> None:
    assert questioner.parse(text) == Reject(reason=reason)
    assert not questioner.well_formed(text)


def test_a_question_without_an_answer_is_usable_but_not_well_formed() -> None:
    text = QUESTION.replace("<answer>7</answer>", "")
    assert isinstance(questioner.parse(text), ParsedQuestion)
    assert not questioner.well_formed(text)


@pytest.mark.parametrize("text", [r"3 + 4 = 7 \boxed{7}", r"\boxed{7}.", r"so $\boxed{ 7 }$" + "\n"])
def test_a_reply_that_ends_in_a_box_is_well_formed(text: str) -> None:
    assert solver.parse(text) == "7"
    assert solver.well_formed(text)


@pytest.mark.parametrize("text", ["7", r"\boxed{}", r"\boxed{7", ""])
def test_a_reply_without_an_answer_in_a_box_is_rejected(text: str) -> None:
    assert solver.parse(text) == Reject(reason="no answer")
    assert not solver.well_formed(text)


def test_a_box_in_the_middle_is_parsed_but_not_well_formed() -> None:
    assert solver.parse(r"\boxed{7} I think") == "7"
    assert not solver.well_formed(r"\boxed{7} I think")


@given(
    st.text()
    | st.lists(st.sampled_from(["<query>", "</query>", "<question>", "</question>", "\\boxed{", "}", "a"])).map("".join)
)
def test_no_text_makes_a_parser_raise(text: str) -> None:
    for role in (searcher, questioner, solver):
        parsed = role.parse(text)
        assert not (role.well_formed(text) and isinstance(parsed, Reject)), "a reward for what no stage can use"
