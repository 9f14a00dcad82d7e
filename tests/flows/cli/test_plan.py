from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.cli.main import USER, command
from flows.round import FOLDERS, STAGES
from tests.fixtures.command_line import output_of

REPLICAS = "engine={kind: ray, share: true, rows: 256, of: {kind: vllm, max_model_len: 6144}}"
CLUSTER = ("--config", "qwen2.5-vl-7b", "--set", REPLICAS, "--set", "train.defaults.workers=8", "--gpus", "8")


@pytest.fixture(autouse=True)
def empty_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVE_ZERO_STORE", str(tmp_path / "store"))


def test_a_plan_of_an_empty_store_runs_all_and_creates_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = json.loads(output_of(capsys, "plan", "--json"))
    assert planned["round"] == 1
    assert [stage["stage"] for stage in planned["stages"]][-len(FOLDERS) :] == list(FOLDERS)
    assert {stage["state"] for stage in planned["stages"]} == {"played"}
    assert not (tmp_path / "store").exists()


def test_a_plan_counts_what_each_stage_asks(capsys: pytest.CaptureFixture[str]) -> None:
    work = json.loads(output_of(capsys, "plan", "--json"))["work"]
    stages = {stage["stage"]: stage for stage in work["stages"]}
    assert list(stages) == list(STAGES)
    assert stages["search"]["completions"] == 600 and stages["search"]["bound"] == "exact"
    assert stages["filter"]["bound"] == "at most"
    assert stages["evaluate"]["completions"] == 2 * (1248 + 2496) * 9, "the base model and the new team"
    assert stages["train-searcher"]["rollouts"] == 4 * 16 * 8
    assert "hours" not in stages["search"]


def test_a_plan_says_what_stands_on_which_cards(capsys: pytest.CaptureFixture[str]) -> None:
    work = json.loads(output_of(capsys, "plan", *CLUSTER, "--rates", "rates-h100", "--json"))["work"]
    on = {stage["stage"]: stage["on"] for stage in work["stages"]}
    assert on["filter"] == "8 replicas of vllm, a card each"
    assert on["train-solver"] == "8 ranks and 8 replicas of vllm, a card each, on the same cards"
    assert on["promote"] == "a processor"


def test_the_hours_of_the_stages_make_the_sum(capsys: pytest.CaptureFixture[str]) -> None:
    work = json.loads(output_of(capsys, "plan", *CLUSTER, "--rates", "rates-h100", "--json"))["work"]
    for name in ("hours", "GPU hours", "cost"):
        assert sum(stage[name] for stage in work["stages"]) == pytest.approx(work["sum"][name], abs=0.05)
    assert work["sum"]["GPU hours"] == pytest.approx(8 * work["sum"]["hours"], abs=0.01)
    assert work["sum"]["cost"] == pytest.approx(work["rates"]["price"] * work["sum"]["GPU hours"], abs=0.01)


def test_the_table_of_a_plan_has_its_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    out = output_of(capsys, "plan", *CLUSTER, "--rates", "rates-h100")
    work = json.loads(output_of(capsys, "plan", *CLUSTER, "--rates", "rates-h100", "--json"))["work"]
    line = next(line for line in out.splitlines() if line.startswith("sum"))
    assert line.split()[1:] == [f"{value:.2f}" for value in work["sum"].values()]
    assert "counts are upper bounds where they say `at most`" in out
    assert "cost at 3 USD for a card's hour" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rates", "rates-h100"), "there is no GPU here: say how many, such as --gpus 8"),
        (
            ("--rates", "no-such-file", "--gpus", "1"),
            "rates no-such-file is not a file: give a path, or one of rates-h100.yaml",
        ),
        (("--rates", "rates-h100", "--gpus", "1"), "have no model infra/models/vlm"),
        (
            ("--config", "paper", "--rates", "rates-h100", "--gpus", "4"),
            "workers=8 takes a card each, and --gpus is 4: `active-zero doctor --gpus 4 --gpu h100-80` says",
        ),
    ],
)
def test_hours_that_cannot_be_told_are_one_line(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert command(["plan", *arguments]) == USER
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_round_without_its_files_is_counted_as_a_whole(capsys: pytest.CaptureFixture[str]) -> None:
    planned = json.loads(output_of(capsys, "plan", *CLUSTER, "--rates", "rates-h100", "--json"))
    assert [stage["stage"] for stage in planned["stages"]] == list(FOLDERS)
    assert all("is missing" in stage["why"] or "cannot be used" in stage["why"] for stage in planned["stages"])
    assert command(["plan", *CLUSTER]) == USER, "without --rates it is a mistake"


def test_a_wrong_stage_to_force_is_a_mistake_with_rates_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["plan", *CLUSTER, "--rates", "rates-h100", "--force-from", "no-stage"]) == USER
    assert "no-stage" in capsys.readouterr().err


def test_a_plan_says_that_parts_get_no_card(capsys: pytest.CaptureFixture[str]) -> None:
    eight = ("--set", "engine={kind: ray, replicas: 8, of: {kind: transformers}}")
    out = output_of(capsys, "plan", *eight, "--gpus", "4")
    assert "It cannot start: 8 replicas take 8 cards; `active-zero doctor --gpus 4 --gpu CARD` says what to set." in out
