"""`active-zero evaluate` on files of the published layout."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from flows.benchmark import benchmark_result, figures_of
from flows.cli.evaluate import COLUMNS, notes, result_records
from flows.cli.main import command
from tasks.benchmarks import WorldBenchmark
from tasks.records import Score
from tests.fixtures.benchmark_layouts import TSV, write_tsv


@pytest.fixture
def micro(tmp_path: Path) -> Path:
    """Items of the micro world as VLMEvalKit would file them; half of them as multiple choice."""
    items = WorldBenchmark(split="heldout", count=16).read().items
    rows = [
        {
            "index": number, "image": base64.b64encode(item.picture.data).decode(), "question": item.question,
            "answer": "B" if number % 2 else item.target, "category": item.domain,
            **({"A": "no such thing", "B": item.target} if number % 2 else {}),
        }
        for number, item in enumerate(items)
    ]  # fmt: skip
    return write_tsv(tmp_path / "micro.tsv", rows)


@pytest.mark.usefixtures("prefect_server")
def test_the_tiny_model_is_scored_on_a_tsv(
    micro: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIVE_ZERO_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    arguments = ["evaluate", "infra/models/vlm", "--benchmark", str(micro), "--set", "evaluate.samples=2"]
    assert command([*arguments, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["items"], printed["clusters"], printed["samples"], printed["timeouts"]) == (16, 16, 2, 0)
    low, high = printed["interval"]
    assert 0 <= low <= printed["accuracy"] <= high <= 100
    assert 0 <= printed["unparsed"] <= 100
    assert len(printed["by_category"]) == 16
    assert sum(figures["items"] for figures in printed["by_category"].values()) == 16
    assert printed["judged"] is None
    assert command(arguments) == 0
    assert f"all of {micro}" in capsys.readouterr().out


def dynamath(right: bool, variant: int, seed: str) -> Score:
    return Score(
        benchmark="dynamath", id=f"{seed}/{variant}", domain="algebra", target="1", greedy="1", greedy_correct=right,
        samples=("1", None), sample_accuracy=0.5 * right, majority_correct=right, correct=(right, False), cluster=seed,
        attributes=(f"seed={seed}",), truncated=1, timeouts=variant == 0, judged=right,
    )  # fmt: skip


def test_a_result_shows_its_metric_clusters_and_unread_replies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVE_ZERO_BENCHMARKS", str(tmp_path))
    write_tsv(tmp_path / "DynaMath.tsv", TSV["dynamath"][1])
    rows = [dynamath(seed == "a", variant, seed) for seed in "ab" for variant in range(10)]
    result = benchmark_result("m", "dynamath", rows)
    assert (result.own_metric["average"], result.own_metric["worst case"], result.own_metric_mean["worst case"]) == (
        50,
        50,
        25,
    )
    assert (result.items, result.clusters, result.accuracy, result.mean) == (20, 2, 50, 25)
    assert result.interval[1] - result.interval[0] > 80  # two seed questions are little evidence
    assert (result.unparsed, result.truncated, result.timeouts) == (pytest.approx(100 / 3), pytest.approx(100 / 3), 2)
    lines = "\n".join(notes(result))
    assert "worst case: 50.0 (mean of 2: 25.0)" in lines
    assert "2 groups of items" in lines
    assert "the judge finds 50.0" in lines
    assert "2 grader time-outs" in lines
    assert result_records(result)[-1]["greedy"].startswith("50.0 (")
    assert {"unparsed", "truncated"} <= set(COLUMNS)


def test_the_judges_score_is_never_mixed_with_the_graders() -> None:
    rows = [dynamath(False, 1, "a").model_copy(update={"judged": opinion}) for opinion in (True, True, None)]
    result = figures_of(rows)
    assert (result.accuracy, result.judged, result.undecided) == (0, 100, 1)
    without = figures_of([row.model_copy(update={"judged": None}) for row in rows])
    assert (without.accuracy, without.judged, without.undecided) == (0, None, 0)
