"""`corpus info`, `query` and `image` on a corpus with one good and one broken picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.cli.main import USER, command
from tasks.corpora import LaionCorpus
from tasks.corpus import build_corpus, corpus_place
from tasks.retrieval import RetrievalConfig
from tests.fixtures.command_line import output_of
from tests.fixtures.shards import sample, write_shard
from tests.fixtures.tiny_clip import write_tiny_clip


@pytest.fixture
def uri(tmp_path: Path) -> str:
    shards = write_shard(tmp_path / "shards", "00000", [*sample("good", 1), ("bad.jpg", b"not a picture")]).parent
    retrieval = RetrievalConfig.model_validate({"clip": {"model": f"local-dir:{write_tiny_clip(tmp_path / 'clip')}"}})
    build_corpus(corpus_place(str(tmp_path / "built")), LaionCorpus(shards=str(shards)), retrieval)
    return str(tmp_path / "built")


def test_a_broken_picture_is_counted_and_not_found(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    info = json.loads(output_of(capsys, "corpus", "info", uri, "--json"))
    assert (info["rows"], info["counters"]["kept"], info["counters"]["broken"]) == (2, 1, 1)
    (hit,) = json.loads(output_of(capsys, "corpus", "query", "a [square]", "--corpus", uri, "-k", "3", "--json"))
    assert (hit["rank"], hit["key"]) == (1, "00000/good")
    arguments = ["corpus", "query", "a [square]", "--corpus", uri, "--min-side", "9999", "--fusion", "--json"]
    assert json.loads(output_of(capsys, *arguments)) == []


def test_an_image_is_the_original_and_a_broken_one_gives_its_reason(
    uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "kept.png"
    output_of(capsys, "corpus", "image", "00000/good", "--corpus", uri, "--out", str(out), wrote=out)
    original = out.read_bytes()
    assert original == dict(sample("good", 1))["good.png"]
    assert command(["corpus", "image", "00000/bad", "--corpus", uri, "--out", str(out)]) == USER
    assert "is not served: broken" in capsys.readouterr().err
    assert out.read_bytes() == original
    assert command(["corpus", "image", "p0", "--corpus", uri, "--out", str(out)]) == USER
    assert "no picture p0 in this corpus: keys look like 00000/good" in capsys.readouterr().err


def test_a_page_is_written_or_another_file_is_asked_for(
    uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, page = ["corpus", "query", "a [square]", "--corpus", uri, "--html"], tmp_path / "page.html"
    assert output_of(capsys, *arguments, str(page), wrote=page) == ""
    assert command([*arguments, str(tmp_path / "none" / "page.html")]) == USER
    assert capsys.readouterr().err.strip().endswith("give another --html.")


def test_html_and_json_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["corpus", "query", "x", "--corpus", "c", "--html", "f.html", "--json"]) == USER
    assert "give one of the two" in capsys.readouterr().err
