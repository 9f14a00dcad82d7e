from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.cli.main import USER, command
from tasks.store import Store
from tests.fixtures.command_line import output_of


def test_runs_prints_promoted_rounds_and_what_is_next(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    (run,) = json.loads(output_of(capsys, "runs", "--json"))
    assert (run["run"], run["rounds"], run["promoted"], run["team"], run["accuracy"]) == ("r", 1, [1], 1, 52)
    assert run["state"] == "round 2 is in progress, 0 stages complete"
    assert "round 2 is in progress" in output_of(capsys, "runs")


def test_a_store_that_is_a_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ACTIVE_ZERO_STORE", str(tmp_path / "file"))
    assert command(["runs"]) == USER
    assert "is a file, and a store is a folder: set ACTIVE_ZERO_STORE" in capsys.readouterr().err
