"""Stopping early decides as full sampling does, and the engine goes on where it stopped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tasks.config import EarlyStopping, FilterConfig
from tasks.engines.request import Request, Sampling
from tasks.engines.scripted import Scripted
from tasks.filter import judge
from tasks.labelling.early_stopping import decides_keeping, decides_reward, final_sizes
from tasks.records.prompt import Prompt

CONFIG = FilterConfig(answers=9, low=0.6, high=0.9)
ANSWER = st.sampled_from(["3", "3", "3", "3", "4", "5", None])


def until(answers: tuple[str | None, ...], early_stopping: EarlyStopping) -> tuple[str | None, ...]:
    """The answers that are sampled before the question is settled."""
    settled = decides_keeping(CONFIG, early_stopping.tolerance)
    for first, count in early_stopping.of(len(answers)):
        if settled(answers[: first + count]):
            return answers[: first + count]
    return answers


@given(st.tuples(*[ANSWER] * 9))
def test_where_nothing_is_guessed_a_question_is_kept_or_dropped_as_by_all_answers(
    answers: tuple[str | None, ...],
) -> None:
    full, early = judge(answers, CONFIG), judge(until(answers, EarlyStopping(first=1, more=1)), CONFIG)
    assert (early[2] is None) == (full[2] is None)
    if full[2] is None:
        assert early[0] == full[0]


def test_a_hopeless_question_costs_the_first_looks_only() -> None:
    assert len(until(("1", "2", "3", "4", "5", "6", "6", "6", "6"), EarlyStopping(first=4, more=1))) == 5


def test_looks_cover_all_answers_once() -> None:
    assert list(EarlyStopping(first=4, more=2).of(9)) == [(0, 4), (4, 2), (6, 2), (8, 1)]
    assert list(EarlyStopping(first=4, more=2).of(3)) == [(0, 3)]


def test_sizes_are_a_distribution_that_knows_what_was_drawn() -> None:
    sizes, chances = final_sizes(6, 6, 9)
    assert sizes.tolist() == [6, 7, 8, 9]
    assert abs(chances.sum() - 1) < 1e-12
    assert chances.argmax() == 3


def test_a_reward_is_settled_when_its_spread_is_within_the_tolerance() -> None:
    settled = decides_reward(10, "paper", 0.15)
    assert settled(("1",) * 8)
    assert not settled(("1",) * 4)
    assert decides_reward(10, "paper", 0.0)(("1",) * 10)


def test_later_completions_are_those_that_full_sampling_would_have_given() -> None:
    engine = Scripted.model_validate(
        {"kind": "scripted", "rules": [{"texts": [f"\\boxed{{{n}}}" for n in range(50)]}]}
    ).open("m")
    prompt, sampling = Prompt("?"), Sampling(8)
    (full,) = engine.generate([Request(prompt, None, None, sampling, 9, seed=3)])
    (begun, rest) = engine.generate(
        [Request(prompt, None, None, sampling, 4, seed=3), Request(prompt, None, None, sampling, 5, seed=3, first=4)]
    )
    assert [*begun, *rest] == full
