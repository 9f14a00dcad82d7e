"""A Solver's score on benchmark items, on the scripted engine."""

from __future__ import annotations

import pytest

from tasks.benchmarks import Item
from tasks.config import EvaluateConfig, load_config
from tasks.engines import Scripted
from tasks.engines.scripted import Rule
from tasks.errors import UserError
from tasks.evaluate import correct, examine, open_exams, score
from tasks.prompt import Picture
from tasks.team import Team

ITEM = Item("7", "clocks", "what time ?", "short_answer", "3:30", Picture("7", b""))


def test_an_item_is_scored_greedily_by_its_samples_and_by_their_majority() -> None:
    row = score("world:heldout", ITEM, "3:00", ("3:30", "3:30", None, "4:00"))
    assert (row.greedy_correct, row.sample_accuracy, row.majority_correct) == (False, 0.5, True)


def test_a_reply_without_an_answer_is_wrong() -> None:
    assert not correct(None, "3:30")
    row = score("world:heldout", ITEM, None, (None, None))
    assert (row.greedy_correct, row.sample_accuracy, row.majority_correct) == (False, 0.0, False)


def test_an_answer_is_right_only_if_it_equals_the_target() -> None:
    assert correct("0.5", "1/2")
    assert not correct("2", "1/2")


def test_a_solver_answers_the_benchmarks_own_question_greedily_and_by_samples() -> None:
    script = Scripted(rules=(Rule(prompt="what time", texts=("\\boxed{3:30}", "no idea")),))
    team = Team(model="nobody/nothing", engine=script, prompts=load_config("embedded").prompts)
    with team.open(seed=0) as cast:
        (row,) = examine(cast, "clocks", [ITEM], samples=64)
    assert row.greedy_correct
    assert len(row.samples) == 64
    assert 0.2 < row.sample_accuracy < 0.8


def test_the_same_solver_scores_the_same_on_common_random_numbers() -> None:
    script = Scripted(rules=(Rule(texts=("\\boxed{3:30}", "\\boxed{4}", "no")),))
    team = Team(model="nobody/nothing", engine=script, prompts=load_config("embedded").prompts)
    rows = []
    for _ in range(2):
        with team.open(seed=5) as cast:
            rows.append(examine(cast, "clocks", [ITEM], samples=16))
    assert rows[0] == rows[1]


def test_the_gate_comes_first_and_an_unknown_benchmark_is_the_users_mistake() -> None:
    config = EvaluateConfig(gate="world:validation", report=("world:heldout",))
    assert [exam.model_dump()["split"] for exam in open_exams(config)] == ["validation", "heldout"]
    with pytest.raises(UserError, match="neither a TSV file"):
        open_exams(EvaluateConfig(gate="MathVista"))
