"""Scores of a Solver on benchmark items, with the scripted engine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tasks.benchmarks import BenchmarkItem
from tasks.benchmarks.answers import grade, read_answer
from tasks.benchmarks.judge import Case, JudgeConfig
from tasks.config import EvaluateConfig, load_config
from tasks.engines import Scripted
from tasks.engines.request import Completion
from tasks.engines.scripted import Rule
from tasks.evaluate import add_judgements, counts, open_benchmarks, score, score_items
from tasks.players.team import Team
from tasks.records import Score
from tasks.records.picture import Picture
from tasks.settings.errors import UserError

ITEM = BenchmarkItem("7", "clocks", "what time ?", "short_answer", "3:30", Picture("7", b""))
COLOURS = replace(
    ITEM, answer_format="letter", target="B", options=(("A", "a blue car"), ("B", "a red car"), ("C", "none"))
)


def completion(text: str, finished: bool = True) -> Completion:
    return Completion(text, len(text.split()) + 1, finished)


def scored(item: BenchmarkItem, greedy: str, *samples: str) -> Score:
    return score("exam", item, completion(greedy), [completion(text) for text in samples])


def test_an_item_is_scored_greedily_by_samples_and_by_majority() -> None:
    row = scored(ITEM, "\\boxed{3:00}", "\\boxed{3:30}", "it is \\boxed{3:30}", "no idea", "\\boxed{4:00}")
    assert (row.greedy_correct, row.sample_accuracy, row.majority_correct) == (False, 0.5, True)
    assert row.correct == (True, True, False, False)
    assert row.samples == ("3:30", "3:30", None, "4:00")


def test_a_reply_without_an_answer_is_wrong_and_counted() -> None:
    row = scored(ITEM, "half past three", "I cannot say", "\\boxed{}")
    assert (row.greedy_correct, row.sample_accuracy, row.majority_correct) == (False, 0.0, False)
    assert counts([row])["unparsed"] == 3


def test_truncated_replies_are_counted() -> None:
    row = score(
        "exam", ITEM, completion("\\boxed{3:30}"), [completion("well", finished=False), completion("\\boxed{3:30}")]
    )
    assert (row.greedy_truncated, row.truncated, counts([row])["truncated"]) == (False, 1, 1)


def test_a_grader_time_out_is_wrong_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.grading.equality import Equality

    monkeypatch.setattr("tasks.benchmarks.answers.equal", lambda a, b: Equality(False, "algebra: time-out"))
    row = scored(ITEM, "\\boxed{x^x}", "\\boxed{x^x}", "nothing")
    assert (row.greedy_correct, row.timeouts, counts([row])["grader time-outs"]) == (False, 2, 2)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("\\boxed{B}", "B"),
        ("\\boxed{a red car}", "B"),
        ("The answer is (B).", "B"),
        ("It is a red car.", "B"),
        ("It is either A or B.", None),
        ("a horse", None),
    ],
)
def test_an_option_is_chosen_by_letter_by_words_or_in_prose(text: str, answer: str | None) -> None:
    assert read_answer(COLOURS, text) == answer
    assert grade(COLOURS, answer).right == (answer == "B")


def test_a_truncated_reply_chooses_only_in_a_box() -> None:
    assert read_answer(COLOURS, "so the answer is B", finished=False) is None
    assert read_answer(COLOURS, "\\boxed{B} and so on and", finished=False) == "B"


def test_of_several_right_options_exactly_those_must_be_named() -> None:
    item = replace(COLOURS, answer_format="letters", target="AC")
    for text, right in {
        "\\boxed{A, C}": True, "\\boxed{CA}": True, "\\boxed{\\text{A and C}}": True, "A, C": True,
        "\\boxed{A}": False, "\\boxed{A, B, C}": False, "The answer is C.": False,
    }.items():  # fmt: skip
        assert grade(item, read_answer(item, text)).right is right, text


def test_yes_and_no_are_read_from_boxes_and_prose() -> None:
    item = replace(ITEM, answer_format="yes or no", target="no")
    assert [read_answer(item, text) for text in ("\\boxed{No}", "Yes, it is.", "maybe", "A dog.")] == [
        "no",
        "yes",
        None,
        None,
    ]
    assert grade(item, "no").right
    assert not grade(item, "yes").right


def test_numbers_may_be_off_by_the_tolerance_and_no_more() -> None:
    item = replace(ITEM, target="0.857", tolerance=0.001)
    assert [grade(item, text).right for text in ("0.857", "6/7", "0.858", "0.859", "6/0", "x")] == [True] * 3 + [
        False
    ] * 3
    assert grade(replace(item, target="6.283"), "2π").right
    assert not grade(replace(item, tolerance=0.0), "0.858").right


def test_any_of_several_right_answers_is_right() -> None:
    item = replace(ITEM, target="['6.8', 'six']", alternatives=("6.8", "six"))
    assert grade(item, "6.80").right
    assert not grade(item, "7").right


def script(*texts: str) -> Team:
    rules = (Rule(prompt="what time", texts=texts),)
    return Team(model="nobody/nothing", engine=Scripted(rules=rules), prompts=load_config("tiny").prompts)


def test_a_solver_answers_items_greedily_and_by_samples() -> None:
    with script("\\boxed{3:30}", "no idea").open(seed=0) as sampler:
        (row,) = score_items(sampler, "clocks", [ITEM], samples=64)
    assert row.greedy_correct
    assert len(row.samples) == len(row.correct) == 64
    assert 0.2 < row.sample_accuracy < 0.8


def test_the_same_solver_gets_the_same_score_again() -> None:
    rows = []
    for _ in range(2):
        with script("\\boxed{3:30}", "\\boxed{4}", "no").open(seed=5) as sampler:
            rows.append(score_items(sampler, "clocks", [ITEM], samples=16))
    assert rows[0] == rows[1]


def test_the_gate_comes_first_and_unknown_benchmarks_are_refused() -> None:
    config = EvaluateConfig(gate="world:validation", report=("world:heldout",))
    assert [benchmark.model_dump()["split"] for benchmark in open_benchmarks(config)] == ["validation", "heldout"]
    with pytest.raises(UserError, match="neither a TSV file"):
        open_benchmarks(EvaluateConfig(gate="MathBench"))


class Endpoint(BaseHTTPRequestHandler):
    """Speaks chat completions: agrees if the answer is the target, is busy first if asked to, notes what it got."""

    got: list[dict[str, Any]]
    keys: list[str | None]
    states: list[int]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.got.append(body)
        self.keys.append(self.headers["Authorization"])
        state = self.states.pop(0) if self.states else 200
        fields = dict(line.split(": ", 1) for line in body["messages"][1]["content"].splitlines())
        reply = {"3:30": "Yes.", "perhaps": "Hard to say"}.get(fields["Answer"], "no")
        payload = json.dumps({"choices": [{"message": {"role": "assistant", "content": reply}}]}).encode()
        self.send_response(state)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(*states: int) -> Iterator[tuple[str, type[Endpoint]]]:
    handler = type("Served", (Endpoint,), {"got": [], "keys": [], "states": list(states)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", handler
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_judge_adds_one_verdict_per_answer_beside_the_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "s3cret")
    rows = [scored(ITEM, f"\\boxed{{{text}}}", "\\boxed{4}") for text in ("3:30", "3:31", "perhaps", "")]
    with serving() as (url, endpoint):
        judge = JudgeConfig(model="judge-2026-01-01", url=url, cache=tmp_path)
        with_verdicts = add_judgements(rows, [ITEM] * 4, judge)
        assert [row.judged for row in with_verdicts] == [True, False, None, False]
        assert [row.model_copy(update={"judged": None}) for row in with_verdicts] == rows
        assert len(endpoint.got) == 3
        assert {(body["model"], body["temperature"]) for body in endpoint.got} == {("judge-2026-01-01", 0)}
        assert set(endpoint.keys) == {"Bearer s3cret"}
        assert add_judgements(rows, [ITEM] * 4, judge) == with_verdicts
        assert len(endpoint.got) == 3
        judge.model_copy(update={"model": "another"}).verdicts([Case("q", "3:30", "3:30")])
        assert len(endpoint.got) == 4
    assert add_judgements(rows, [ITEM] * 4, judge) == with_verdicts  # from the folder, without an endpoint
    assert not any("s3cret" in path.read_text() for path in tmp_path.iterdir())


def test_a_busy_judge_is_retried_and_a_refusing_one_is_an_error(tmp_path: Path) -> None:
    case = Case("what time ?", "3:30", "3:30")
    with serving(503, 429) as (url, endpoint):
        judge = JudgeConfig(model="m", url=url, cache=tmp_path)
        assert judge.verdicts([case]) == [True]
        assert len(endpoint.got) == 3
    with serving(401) as (url, endpoint):
        refused = JudgeConfig(model="other", url=url, cache=tmp_path)
        with pytest.raises(UserError, match="401"):
            refused.verdicts([case])
        assert len(endpoint.got) == 1
    with pytest.raises(UserError, match="gave no verdict"):
        JudgeConfig(model="other", url=url, cache=tmp_path, tries=1).verdicts([case])


def test_without_a_judge_there_is_no_verdict() -> None:
    assert EvaluateConfig().judge is None
    rows = [scored(ITEM, "\\boxed{3:30}", "no")]
    assert add_judgements(rows, [ITEM], None) == rows
    assert rows[0].judged is None


def test_a_judges_model_is_fingerprinted_and_its_url_is_not(tmp_path: Path) -> None:
    from tasks.settings.fingerprint import fingerprint_fields

    config = load_config("tiny", ["evaluate.judge.model=m-1", "evaluate.judge.url=http://localhost:1/v1"])
    assert config.evaluate.judge is not None
    assert fingerprint_fields(config.evaluate.judge) == {"model": "m-1"}
