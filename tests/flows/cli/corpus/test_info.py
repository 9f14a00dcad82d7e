from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from tests.fixtures.command_line import output_of


def test_recall_is_printed_as_a_share_and_a_whole_number_in_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    counters = {"kept": 10_000, "image recall@5 /10000": 9_987}
    info = SimpleNamespace(model_dump=lambda mode: {"counters": counters})
    monkeypatch.setattr("flows.corpus.info", lambda uri: info)
    assert output_of(capsys, "corpus", "info", "c") == "counters: kept 10000, image recall@5 0.9987\n"
    assert json.loads(output_of(capsys, "corpus", "info", "c", "--json")) == {"counters": counters}
