from __future__ import annotations

from types import SimpleNamespace

import pytest

from flows.cli.main import command


def test_shards_that_a_corpus_has_are_nothing_new(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    info = SimpleNamespace(model_dump=lambda mode: {"shards": 2})
    monkeypatch.setattr("flows.corpus.info", lambda uri: info)
    for is_new, err in ((True, ""), (False, "nothing new: the corpus has all shards of s already\n")):
        monkeypatch.setattr("flows.cli.corpus.add._add_shards", lambda *_, is_new=is_new: is_new)
        assert command(["corpus", "add", "s", "--corpus", "c"]) == 0
        assert capsys.readouterr() == ("shards: 2\n", err)
