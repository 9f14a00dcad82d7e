from __future__ import annotations

from pathlib import Path

import pytest

from flows.cli.main import USER, command


def test_a_folder_without_shards_is_refused_before_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert command(["corpus", "build", str(tmp_path / "empty"), "--out", str(tmp_path / "built")]) == USER
    assert f"the folder {tmp_path / 'empty'} is empty" in capsys.readouterr().err
    assert not (tmp_path / "built").exists()
