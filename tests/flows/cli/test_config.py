from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.config import load_config
from tests.fixtures.command_line import output_of


def test_config_prints_a_config_file_that_resolves_to_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["config", "--config", "qwen2.5-vl-7b", "--set", "filter.low=0.45"]
    file = tmp_path / "resolved.yaml"
    file.write_text(output_of(capsys, *arguments))
    assert load_config(file) == load_config("qwen2.5-vl-7b", ["filter.low=0.45"])
    assert output_of(capsys, "config", "--config", str(file)) == file.read_text()


def test_config_as_json_has_the_same_settings(capsys: pytest.CaptureFixture[str]) -> None:
    settings = json.loads(output_of(capsys, "config", "--set", "filter.low=0.45", "--json"))
    assert settings == load_config(overrides=["filter.low=0.45"]).model_dump(mode="json")
    assert settings["filter"]["low"] == 0.45
