"""Base models by folder or hub name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.players.weights import base_model, model_folder
from tasks.settings.errors import UserError
from tasks.settings.overlay import ROOT


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither a folder"):
        base_model(str(tmp_path))


def test_a_model_folder_is_found_from_the_repositorys_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert model_folder("infra/models/vlm") == (ROOT / "infra/models/vlm").resolve()
    assert model_folder("nowhere") is None
