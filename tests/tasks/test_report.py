"""The report of a round: figures, text, charts and pages."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from matplotlib.figure import Figure
from PIL import Image

from tasks.records import Decision, DomainDifficulty, LabelledQuestion, Score, SearchResult, Step
from tasks.report import changes, label_accuracy, shown_pictures, verdicts
from tasks.reporting import chart, text
from tasks.reporting.facts import LabelAccuracy, RoundFacts, coverage_of, replies_of, total
from tasks.settings.errors import UserError
from tasks.world import DOMAINS, Scene
from tests.fixtures.stages import FOLDER


def labelled(
    number: int, label: str | None, agreement: float = 0.6, reason: str | None = None, **other: str
) -> LabelledQuestion:
    row = {"id": f"k{number}#0", "key": f"k{number}", "domain": "counting", "text": "how many ?"} | other
    return LabelledQuestion(
        **row, kind="short_answer", answers=(label, None), label=label, agreement=agreement, reason=reason
    )


def world_questions(count: int) -> tuple[list[LabelledQuestion], dict[str, str | None]]:
    """Questions of the grammar with their right labels, and the pictures' addresses."""
    scenes = [Scene(DOMAINS[number % len(DOMAINS)], 1, number) for number in range(count)]
    queries = [scene.draw_question(Random(0)) for scene in scenes]
    questions = [labelled(number, query.solution.answer, text=query.text) for number, query in enumerate(queries)]
    return questions, {f"k{number}": scene.url for number, scene in enumerate(scenes)}


def score(benchmark: str, id: str, share: float, greedy: bool) -> Score:
    return Score(
        benchmark=benchmark, id=id, domain="d", target="1", greedy="1", greedy_correct=greedy, samples=("1", "2"),
        sample_accuracy=share, majority_correct=greedy,
    )  # fmt: skip


DECISION = Decision(
    promoted=True, items=2, mean_before=50, mean_after=52, mean_low=0.5, mean_high=3.5, greedy_before=60,
    greedy_after=61, greedy_low=-1, greedy_high=3, why="gain of the mean +2.0, of greedy +1.0",
)  # fmt: skip


def facts(questions: list[LabelledQuestion], urls: dict[str, str | None]) -> RoundFacts:
    scores = [score("world:validation", "a", 0.5, True), score("world:heldout", "b", 0.5, False)]
    step = Step(
        step=0,
        reward=0.4,
        reward_sd=0.1,
        loss=0,
        kl=0.001,
        grad_norm=1,
        learning_rate=1e-4,
        tokens=9,
        active=1,
    )
    return RoundFacts(
        title="Run r, round 1",
        decision=DECISION,
        changes=tuple(changes(scores, scores, resamples=100, seed=0)),
        since_base=(),
        replies=replies_of(scores),
        label_accuracy=tuple(measured(questions, urls)),
        gold_accuracy=(LabelAccuracy(low=0.6, high=0.7, questions=4, answerable=4, right=3),),
        frontier=[
            DomainDifficulty(domain="bars | pies", questions=8, agreement=0.5, difficulty=1, low=0.9, high=1, weight=1)
        ],
        labelled=questions,
        domains={"pool": {"counting": 3}, "curriculum": {"counting": 2}},
        steps={"solver": [step, step.model_copy(update={"step": 1, "reward": 0.6})], "searcher": []},
        rejects={FOLDER["filter"]: {"too easy": 7}},
        seconds={FOLDER["probe"]: 3.0, FOLDER["filter"]: 60.0},
    )


def measured(questions: list[LabelledQuestion], urls: dict[str, str | None]) -> list[LabelAccuracy]:
    return label_accuracy(questions, urls, verdicts(questions, urls))


def test_a_label_is_right_if_the_oracle_gives_it() -> None:
    questions, urls = world_questions(32)
    wrong = [one.model_copy(update={"label": "no such thing"}) for one in questions[:8]]
    (accuracy,) = measured([*wrong, *questions[8:]], urls)
    assert (accuracy.questions, accuracy.answerable, accuracy.right) == (32, 32, 24)
    assert accuracy.accuracy == 0.75
    assert (accuracy.low, accuracy.high) == (0.6, 0.7)


def test_unanswerable_questions_do_not_count_for_accuracy() -> None:
    questions, urls = world_questions(4)
    (accuracy,) = measured([questions[0].model_copy(update={"text": "why is the sky blue ?"}), *questions[1:]], urls)
    assert (accuracy.questions, accuracy.answerable, accuracy.right) == (4, 3, 3)
    assert accuracy.unanswerable == 0.25


def test_only_kept_questions_about_the_world_are_measured() -> None:
    questions, urls = world_questions(2)
    rejected = questions[0].model_copy(update={"reason": "too easy"})
    assert measured([rejected], urls) == []
    assert measured(questions, {"k0": "https://example.org/a.jpg", "k1": None}) == []


def test_label_accuracy_has_bins_of_a_tenth_of_agreement() -> None:
    questions, urls = world_questions(4)
    spread = [
        one.model_copy(update={"agreement": a}) for one, a in zip(questions, (4 / 9, 0.7, 7 / 9, 1.0), strict=True)
    ]
    bins = measured(spread, urls)
    assert [(each.low, each.questions) for each in bins] == [(0.4, 1), (0.7, 2), (0.9, 1)]
    whole = total(bins)
    assert whole is not None
    assert (whole.questions, whole.low, whole.high) == (4, 0.4, 1.0)


def test_changes_list_reported_benchmarks_before_the_gate() -> None:
    before = [score("gate", "a", 0.5, True), score("gate", "b", 0.5, False), score("held out", "a", 0.25, False)]
    after = [score("gate", "a", 1.0, True), score("gate", "b", 0.5, False), score("held out", "a", 0.5, True)]
    rows = changes(before, after, resamples=200, seed=0)
    assert [(one.benchmark, one.figure) for one in rows] == [
        ("held out", "mean of 2"), ("held out", "greedy"), ("gate", "mean of 2"), ("gate", "greedy"),
    ]  # fmt: skip
    assert [one.gain for one in rows] == [25, 100, 25, 0]
    assert (rows[2].low, rows[2].high) == (0, 50)


def test_the_summary_has_scores_decision_and_measured() -> None:
    lines = text.summary(facts(*world_questions(10)))
    assert lines[0] == "world:heldout, mean of 2: 50.0 -> 50.0 (+0.0, 95 % interval +0.0 to +0.0, 1 items)"
    assert "McNemar p 1" in lines[1]
    assert lines[-4] == "promoted: gain of the mean +2.0, of greedy +1.0"
    assert lines[-3] == "replies: 0.0 % of 6 unparsed, 0.0 % truncated, 0 grader time-outs"
    assert lines[-1] == "gold items: label accuracy 75.0 % (95 % interval 30.1 to 95.4) of 4 in the window"
    assert lines[-2].startswith("label accuracy: 100.0 % (95 % interval 72.2 to 100.0), 0.0 % of 10 unanswerable")


def test_without_an_oracle_the_label_accuracy_is_unknown(tmp_path: Path) -> None:
    unknown = facts([labelled(0, "3")], {"k0": None})
    assert "unknown" in text.summary(unknown)[-2]
    chart.draw(unknown, tmp_path / "report.png")
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


def test_markdown_tables_stay_whole_whatever_a_name_holds() -> None:
    written = text.markdown(facts(*world_questions(10)))
    assert "| bars \\| pies | 1.00 (0.90 to 1.00) | 0 | 0 |" in written
    assert f"| {FOLDER['filter']} | too easy | 7 |" in written
    assert "| solver | 2 | 0.400 | 0.600 | 0.0010 |" in written
    assert "![charts of the round](report.png)" in written


def test_a_chart_is_drawn_of_a_whole_round(tmp_path: Path) -> None:
    chart.draw(facts(*world_questions(20)), tmp_path / "report.png")
    with Image.open(tmp_path / "report.png") as drawn:
        assert drawn.width > 1000


def test_gold_items_are_judged_by_their_known_answer() -> None:
    right, wrong = (labelled(n, "1/2", reason="gold item", target=target) for n, target in enumerate(("0.5", "3")))
    unlabelled = labelled(2, None, reason="gold item", target="3")
    found = verdicts([right, wrong, unlabelled], {})
    assert {name: verdict.right for name, verdict in found.items()} == {"k0#0": True, "k1#0": False}


def labels_title(rows: list[LabelledQuestion], urls: dict[str, str | None]) -> str:
    """Title of the panel on label accuracy."""
    axes = Figure().subplots()
    chart._labels(axes, facts(rows, urls))
    return axes.get_title()


def test_an_oracle_without_answers_differs_from_no_oracle() -> None:
    questions, urls = world_questions(3)
    strange = [one.model_copy(update={"text": "why is the sky blue ?"}) for one in questions]
    assert labels_title(questions, urls) == "label accuracy by the oracle"
    assert labels_title(strange, urls) == "label accuracy: the oracle answers none of 3 kept questions"
    assert labels_title(questions, dict.fromkeys(urls)) == "label accuracy: no oracle for this corpus"
    assert labels_title([labelled(1, "1", reason="too easy", target="1")], {}) == "label accuracy: no question was kept"


def test_a_corpus_that_serves_a_picture_no_more_costs_only_the_pictures() -> None:
    class Changed:
        def pictures(self, keys: list[str]) -> list[object]:
            raise UserError("shard 00000 has changed")

    shown = shown_pictures(cast(Any, Changed()), ["a"], ["a"])
    assert shown.pictures == {} and "shard 00000 has changed" in shown.problem


def search_results(domain: str, *keys: str | None) -> list[SearchResult]:
    return [SearchResult(domain=domain, query="bars", key=key, rank=1, score=0.5, reason=None) for key in keys]


def test_coverage_tells_a_collapsed_searcher_from_a_diverse_one() -> None:
    wide, narrow = (coverage_of(search_results("a", *keys), 100)[0] for keys in ("abcdefgh", "aaaaaaab"))
    assert (wide.retrieved, wide.distinct, wide.share) == (8, 8, 0.08)
    assert wide.effective == pytest.approx(8)
    assert narrow.distinct == 2 and narrow.effective < 1.5
    assert coverage_of([], 100)[0].effective == 0


def test_coverage_by_domain_leaves_out_rejected_queries() -> None:
    rows = [*search_results("a", "1", "2"), *search_results("b", None, "1")]
    assert [(one.domain, one.retrieved, one.distinct) for one in coverage_of(rows, 10)] == [
        ("", 3, 2),
        ("a", 2, 2),
        ("b", 1, 1),
    ]


def test_gold_items_do_not_count_as_questions_of_the_round() -> None:
    rows = [labelled(1, "1"), labelled(2, "1", reason="too easy"), labelled(3, "1", reason="gold item", target="1")]
    axes = Figure().subplots()
    chart._agreement(axes, facts(rows, {}))
    assert axes.get_title() == "1 of 2 questions kept"
