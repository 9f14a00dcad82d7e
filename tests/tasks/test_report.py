from __future__ import annotations

import io
from pathlib import Path
from random import Random

import pytest
from matplotlib.figure import Figure
from PIL import Image

from tasks.records import Decision, DomainDifficulty, LabelledQuestion, Score, SearchResult, Step
from tasks.records.picture import Picture
from tasks.report import SHOWN, changes, excerpt, label_accuracy
from tasks.reporting import chart, text
from tasks.reporting.facts import Facts, LabelAccuracy, reach_of, replies_of, total
from tasks.reporting.page import LARGEST, data_address, page
from tasks.world import DOMAINS, scene_at


def verdict(
    number: int, label: str | None, agreement: float = 0.6, reason: str | None = None, **other: str
) -> LabelledQuestion:
    row = {"id": f"k{number}#0", "key": f"k{number}", "domain": "counting", "text": "how many ?"} | other
    return LabelledQuestion(
        **row, kind="short_answer", answers=(label, None), label=label, agreement=agreement, reason=reason
    )


def asked_of_the_world(count: int) -> tuple[list[LabelledQuestion], dict[str, str | None]]:
    """Questions of the grammar with their right labels, and the pictures' addresses."""
    scenes = [scene_at(DOMAINS[number % len(DOMAINS)], 1, number) for number in range(count)]
    queries = [scene.question(Random(0)) for scene in scenes]
    verdicts = [verdict(number, query.solution.answer, text=query.text) for number, query in enumerate(queries)]
    return verdicts, {f"k{number}": scene.url for number, scene in enumerate(scenes)}


def score(benchmark: str, id: str, share: float, greedy: bool) -> Score:
    return Score(
        benchmark=benchmark, id=id, domain="d", target="1", greedy="1", greedy_correct=greedy, samples=("1", "2"),
        sample_accuracy=share, majority_correct=greedy,
    )  # fmt: skip


DECISION = Decision(
    promoted=True, items=2, mean_before=50, mean_after=52, mean_low=0.5, mean_high=3.5, greedy_before=60,
    greedy_after=61, greedy_low=-1, greedy_high=3, why="gain of the mean +2.0, of greedy +1.0",
)  # fmt: skip


def facts(verdicts: list[LabelledQuestion], urls: dict[str, str | None]) -> Facts:
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
    return Facts(
        title="Run r, round 1",
        decision=DECISION,
        changes=tuple(changes(scores, scores, resamples=100, seed=0)),
        since_base=(),
        replies=replies_of(scores),
        bands=tuple(label_accuracy(verdicts, urls)),
        gold=(LabelAccuracy(low=0.6, high=0.7, questions=4, answerable=4, right=3),),
        frontier=[
            DomainDifficulty(domain="bars | pies", questions=8, agreement=0.5, difficulty=1, low=0.9, high=1, weight=1)
        ],
        verdicts=verdicts,
        domains={"pool": {"counting": 3}, "curriculum": {"counting": 2}},
        steps={"solver": [step, step.model_copy(update={"step": 1, "reward": 0.6})], "searcher": []},
        rejects={"6-filter": {"too easy": 7}},
        seconds={"1-probe": 3.0, "6-filter": 60.0},
    )


def png(side: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), "red").save(buffer, "PNG")
    return buffer.getvalue()


def test_labels_that_the_oracle_gives_are_right_and_others_are_not() -> None:
    verdicts, urls = asked_of_the_world(32)
    wrong = [one.model_copy(update={"label": "no such thing"}) for one in verdicts[:8]]
    (band,) = label_accuracy([*wrong, *verdicts[8:]], urls)
    assert (band.questions, band.answerable, band.right) == (32, 32, 24)
    assert band.accuracy == 0.75
    assert (band.low, band.high) == (0.6, 0.7)


def test_a_question_outside_the_grammar_is_unanswerable_and_counts_neither_way() -> None:
    verdicts, urls = asked_of_the_world(4)
    (band,) = label_accuracy([verdicts[0].model_copy(update={"text": "why is the sky blue ?"}), *verdicts[1:]], urls)
    assert (band.questions, band.answerable, band.right) == (4, 3, 3)
    assert band.unanswerable == 0.25


def test_only_kept_questions_about_the_world_are_measured() -> None:
    verdicts, urls = asked_of_the_world(2)
    rejected = verdicts[0].model_copy(update={"reason": "too easy"})
    assert label_accuracy([rejected], urls) == []
    assert label_accuracy(verdicts, {"k0": "https://example.org/a.jpg", "k1": None}) == []


def test_labels_fall_into_tenths_of_agreement() -> None:
    verdicts, urls = asked_of_the_world(4)
    spread = [
        one.model_copy(update={"agreement": a}) for one, a in zip(verdicts, (4 / 9, 0.7, 7 / 9, 1.0), strict=True)
    ]
    bands = label_accuracy(spread, urls)
    assert [(band.low, band.questions) for band in bands] == [(0.4, 1), (0.7, 2), (0.9, 1)]
    whole = total(bands)
    assert whole is not None
    assert (whole.questions, whole.low, whole.high) == (4, 0.4, 1.0)


def test_changes_are_told_for_what_is_reported_before_what_decides() -> None:
    before = [score("gate", "a", 0.5, True), score("gate", "b", 0.5, False), score("held out", "a", 0.25, False)]
    after = [score("gate", "a", 1.0, True), score("gate", "b", 0.5, False), score("held out", "a", 0.5, True)]
    found = changes(before, after, resamples=200, seed=0)
    assert [(one.benchmark, one.figure) for one in found] == [
        ("held out", "mean of 2"), ("held out", "greedy"), ("gate", "mean of 2"), ("gate", "greedy"),
    ]  # fmt: skip
    assert [one.gain for one in found] == [25, 100, 25, 0]
    assert (found[2].low, found[2].high) == (0, 50)


def test_the_summary_says_before_and_after_the_decision_and_the_labels() -> None:
    lines = text.summary(facts(*asked_of_the_world(10)))
    assert lines[0] == "world:heldout, mean of 2: 50.0 -> 50.0 (+0.0, 95 % interval +0.0 to +0.0, 1 items)"
    assert "McNemar p 1" in lines[1]
    assert lines[-4] == "promoted: gain of the mean +2.0, of greedy +1.0"
    assert lines[-3] == "replies: 0.0 % of 6 unparsed, 0.0 % truncated, 0 grader time-outs"
    assert lines[-1] == "gold items: of 4 in the window 75.0 % (95 % interval 30.1 to 95.4) were labelled right"
    assert lines[-2].startswith("label accuracy: 100.0 % (95 % interval 72.2 to 100.0), 0.0 % of 10 unanswerable")


def test_without_an_oracle_the_report_says_so(tmp_path: Path) -> None:
    told = facts([verdict(0, "3")], {"k0": None})
    assert "unknown" in text.summary(told)[-2]
    chart.draw(told, tmp_path / "report.png")
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


def test_markdown_has_its_tables_whole_whatever_a_name_holds() -> None:
    written = text.markdown(facts(*asked_of_the_world(10)))
    assert "| bars \\| pies | 1.00 (0.90 to 1.00) | 0 | 0 |" in written
    assert "| 6-filter | too easy | 7 |" in written
    assert "| solver | 2 | 0.400 | 0.600 | 0.0010 |" in written
    assert "![the round in figures](report.png)" in written


def test_a_chart_is_drawn_of_a_whole_round(tmp_path: Path) -> None:
    chart.draw(facts(*asked_of_the_world(20)), tmp_path / "report.png")
    with Image.open(tmp_path / "report.png") as drawn:
        assert drawn.width > 1000


def test_the_page_shows_kept_and_rejected_apart_and_escapes_what_models_wrote() -> None:
    nasty = verdict(0, "3", text='<script>alert("x")</script>')
    rows = [nasty, verdict(1, None, reason="no answer"), verdict(2, "4", reason="too easy", id="<i>")]
    written = page("t & t", rows, {f"k{number}": Picture(f"k{number}", png(4)) for number in range(3)})
    assert "<script" not in written
    assert "&lt;script&gt;" in written
    assert "<title>t &amp; t</title>" in written
    assert "Kept: 1 questions about 1 pictures" in written
    assert "Rejected: 2 questions about 2 pictures" in written
    assert written.index("&lt;script") < written.index("no answer") < written.index("too easy")
    assert "default-src 'none'" in written


def test_small_pictures_are_shown_as_they_are_and_large_ones_shrunk() -> None:
    import base64

    small = png(8)
    assert data_address(Picture("a", small)) == f"data:image/png;base64,{base64.b64encode(small).decode()}"
    kind, _, data = data_address(Picture("b", png(2 * LARGEST))).partition(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (LARGEST, LARGEST)


def test_the_reports_page_takes_an_even_excerpt_of_a_large_curriculum() -> None:
    many = [verdict(number, "1", reason=None if number % 3 else "too easy") for number in range(4 * SHOWN)]
    shown = excerpt(many)
    kept = [one for one in shown if one.reason is None]
    assert 0 < len(kept) <= SHOWN
    assert 0 < len(shown) - len(kept) <= SHOWN
    assert len(excerpt(many[:5])) == 5


def told_of_labels(rows: list[LabelledQuestion], urls: dict[str, str | None]) -> str:
    """The title of the panel about labels."""
    axes = Figure().subplots()
    chart._labels(axes, facts(rows, urls))
    return axes.get_title()


def test_a_round_whose_questions_the_oracle_cannot_answer_is_told_from_one_without_an_oracle() -> None:
    verdicts, urls = asked_of_the_world(3)
    strange = [one.model_copy(update={"text": "why is the sky blue ?"}) for one in verdicts]
    assert told_of_labels(verdicts, urls) == "labels against the oracle"
    assert told_of_labels(strange, urls) == "labels: the oracle answers none of 3 kept questions"
    assert told_of_labels(verdicts, dict.fromkeys(urls)) == "labels: no oracle for this corpus"
    assert told_of_labels([verdict(1, "1", reason="too easy", target="1")], {}) == "labels: no question was kept"


def found(domain: str, *keys: str | None) -> list[SearchResult]:
    return [SearchResult(domain=domain, query="bars", key=key, rank=1, score=0.5, reason=None) for key in keys]


def test_reach_tells_a_collapsed_searcher_from_one_that_looks_around() -> None:
    wide, narrow = (reach_of(found("a", *keys), 100)[0] for keys in ("abcdefgh", "aaaaaaab"))
    assert (wide.retrieved, wide.distinct, wide.share) == (8, 8, 0.08)
    assert wide.effective == pytest.approx(8)
    assert narrow.distinct == 2 and narrow.effective < 1.5
    assert reach_of([], 100)[0].effective == 0


def test_reach_by_domain_leaves_out_unusable_queries() -> None:
    rows = [*found("a", "1", "2"), *found("b", None, "1")]
    assert [(one.domain, one.retrieved, one.distinct) for one in reach_of(rows, 10)] == [
        ("", 3, 2),
        ("a", 2, 2),
        ("b", 1, 1),
    ]


def test_gold_items_are_no_questions_of_the_round() -> None:
    rows = [verdict(1, "1"), verdict(2, "1", reason="too easy"), verdict(3, "1", reason="gold item", target="1")]
    axes = Figure().subplots()
    chart._agreement(axes, facts(rows, {}))
    assert axes.get_title() == "1 of 2 questions kept"
