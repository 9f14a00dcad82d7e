"""Early stopping decides as full sampling does, and the engine continues with the next completions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tasks.config import EarlyStopping, FilterConfig
from tasks.engines.pictures import OWN_LIMITS
from tasks.engines.request import Request, Sampling
from tasks.engines.scripted import Scripted
from tasks.filter import label_of
from tasks.grading import vote
from tasks.labelling.early_stopping import filter_stop_rule, final_sizes, reward_stop_rule
from tasks.records.prompt import Prompt
from tasks.rewards import AgreementWindow, difficulty

CONFIG = FilterConfig(answers=9, low=0.6, high=0.9)
ANSWER = st.sampled_from(["3", "3", "3", "3", "4", "5", None])


def drawn_answers(answers: tuple[str | None, ...], early_stopping: EarlyStopping) -> tuple[str | None, ...]:
    """The answers that are drawn before the rule stops."""
    enough = filter_stop_rule(CONFIG, early_stopping.tolerance)
    for first, count in early_stopping.batches(len(answers)):
        if enough(answers[: first + count]):
            return answers[: first + count]
    return answers


@given(st.tuples(*[ANSWER] * 9))
def test_at_risk_0_questions_are_kept_or_dropped_as_by_all_answers(answers: tuple[str | None, ...]) -> None:
    full, early = label_of(answers, CONFIG), label_of(drawn_answers(answers, EarlyStopping(first=1, more=1)), CONFIG)
    assert (early.reason is None) == (full.reason is None)
    if full.reason is None:
        assert early.label == full.label


def test_a_hopeless_question_costs_the_first_batches_only() -> None:
    assert len(drawn_answers(("1", "2", "3", "4", "5", "6", "6", "6", "6"), EarlyStopping(first=4, more=1))) == 5


def test_batches_cover_all_answers_once() -> None:
    assert list(EarlyStopping(first=4, more=2).batches(9)) == [(0, 4), (4, 2), (6, 2), (8, 1)]
    assert list(EarlyStopping(first=4, more=2).batches(3)) == [(0, 3)]


def test_final_sizes_are_a_distribution_given_the_drawn_answers() -> None:
    sizes, probabilities = final_sizes(6, 6, 9)
    assert sizes.tolist() == [6, 7, 8, 9]
    assert abs(probabilities.sum() - 1) < 1e-12
    assert probabilities.argmax() == 3


def test_a_reward_is_decided_when_its_spread_is_within_tolerance() -> None:
    decided = reward_stop_rule(10, "paper", 0.15)
    assert decided(("1",) * 8)
    assert not decided(("1",) * 4)
    assert reward_stop_rule(10, "paper", 0.0)(("1",) * 10)


@given(st.tuples(*[ANSWER] * 9))
def test_at_tolerance_0_a_window_pays_as_by_all_answers(answers: tuple[str | None, ...]) -> None:
    window = AgreementWindow(CONFIG.low, CONFIG.high)
    decided = reward_stop_rule(9, window, 0.0)
    early = vote(next(answers[:count] for count in range(1, 10) if count == 9 or decided(answers[:count])))
    full = vote(answers)
    assert float(difficulty(early.agreement, window)) == float(difficulty(full.agreement, window))
    assert early.label == full.label


def test_a_window_is_decided_before_all_answers_are_drawn() -> None:
    assert reward_stop_rule(9, AgreementWindow(0.6, 0.9), 0.0)(("1",) * 6 + ("2", "3"))


def test_later_completions_equal_those_of_full_sampling() -> None:
    engine = Scripted.model_validate(
        {"kind": "scripted", "rules": [{"texts": [f"\\boxed{{{n}}}" for n in range(50)]}]}
    ).open("m", OWN_LIMITS)
    prompt, sampling = Prompt("?"), Sampling(8)
    (full,) = engine.generate([Request(prompt, None, None, sampling, 9, seed=3)])
    (start, rest) = engine.generate(
        [Request(prompt, None, None, sampling, 4, seed=3), Request(prompt, None, None, sampling, 5, seed=3, first=4)]
    )
    assert [*start, *rest] == full
