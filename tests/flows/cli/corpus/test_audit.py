"""`active-zero corpus audit`: the copies of a benchmark's pictures and the contaminated items."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from flows.cli.main import USER, command
from tasks.corpora import FolderCorpus
from tasks.corpus import build_corpus, corpus_place
from tasks.records import Score
from tasks.retrieval import RetrievalConfig
from tasks.retrieval.clip import Clip
from tasks.store import Output, Place, Store
from tests.fixtures.shards import picture
from tests.fixtures.stages import FOLDER
from tests.fixtures.tiny_clip import write_tiny_clip


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    """Four pictures: two JPEG copies of the benchmark's and two others."""
    folder = tmp_path / "web"
    folder.mkdir()
    for name, seed in (("copy-1", 101), ("copy-2", 102), ("other-1", 1), ("other-2", 2)):
        (folder / f"{name}.jpg").write_bytes(picture(seed, (90, 90), "JPEG", quality=60))
    clip = Clip(model=f"local-dir:{write_tiny_clip(tmp_path / 'clip')}")
    uri = str(tmp_path / "store" / "corpora" / "web")
    build_corpus(corpus_place(uri), FolderCorpus(path=str(folder)), RetrievalConfig(clip=clip))
    return uri


@pytest.fixture
def questions(tmp_path: Path) -> str:
    """Three items with one picture each, 101 to 103."""
    rows = [f"{k}\t{base64.b64encode(picture(k)).decode()}\twhat is it?\tcat" for k in (101, 102, 103)]
    file = tmp_path / "mine.tsv"
    file.write_text("\n".join(["index\timage\tquestion\tanswer", *rows]) + "\n")
    return str(file)


def test_an_audit_names_the_copies_and_splits_a_runs_scores(
    corpus: str, questions: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(str(tmp_path / "store"))
    monkeypatch.setenv("ACTIVE_ZERO_STORE", store.url)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    scores = [
        Score(
            benchmark=questions, id=str(k), domain="d", target="cat", greedy="cat", greedy_correct=k != 103,
            samples=("cat",), sample_accuracy=1.0, majority_correct=True,
        )
        for k in (101, 102, 103)
    ]  # fmt: skip
    Place.round(store, "r", 1).commit(FOLDER["evaluate"], Score, Output(scores), {"version": 1}, 0.1)
    assert command(["corpus", "audit", "--corpus", corpus, "--benchmark", questions, "--run", "r", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [copy["key"] for copy in found["copies"]] == ["web/copy-1.jpg", "web/copy-2.jpg"]
    assert (found["pictures"], found["items"], found["contaminated_items"]) == (4, 3, 2)
    assert (found["scores"]["contaminated"]["greedy"], found["scores"]["clean"]["greedy"]) == (1.0, 0.0)


def test_an_unknown_benchmark_is_the_users_mistake(corpus: str) -> None:
    assert command(["corpus", "audit", "--corpus", corpus, "--benchmark", "nowhere.tsv"]) == USER
