from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.round import FOLDERS
from tests.fixtures.command_line import output_of


def test_a_plan_of_an_empty_store_runs_all_and_creates_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIVE_ZERO_STORE", str(tmp_path / "store"))
    planned = json.loads(output_of(capsys, "plan", "--json"))
    assert planned["round"] == 1
    assert [stage["stage"] for stage in planned["stages"]][-len(FOLDERS) :] == list(FOLDERS)
    assert {stage["state"] for stage in planned["stages"]} == {"played"}
    assert not (tmp_path / "store").exists()
