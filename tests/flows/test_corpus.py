"""The flows and functions behind `active-zero corpus`."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows import corpus
from tasks.corpora import FolderCorpus, LaionCorpus
from tasks.corpora.detect import detect_source
from tasks.retrieval import RetrievalConfig
from tasks.retrieval.clip import Clip
from tasks.retrieval.filters import Filter
from tasks.settings.errors import UserError
from tests.fixtures.shards import ordinary_shards, picture, sample, write_shard
from tests.fixtures.tiny_clip import write_tiny_clip


def test_a_corpus_is_built_described_queried_and_read(tmp_path: Path) -> None:
    retrieval = RetrievalConfig(clip=Clip(model=f"local-dir:{write_tiny_clip(tmp_path / 'clip')}"))
    uri = str(tmp_path / "corpora" / "mine")
    shards = detect_source(str(ordinary_shards(tmp_path / "shards", pictures=6)))
    corpus.build.fn(uri, shards, retrieval)
    assert corpus.info(uri).counters["kept"] == 12
    (hits,) = corpus.query(uri, ["a clock"], k=3)
    assert len(hits) == 3
    assert corpus.image(uri, "00001/000010000") == picture(6)


def test_a_contact_sheet_shows_captions_scores_and_groups(tmp_path: Path) -> None:
    retrieval = RetrievalConfig(clip=Clip(model=f"local-dir:{write_tiny_clip(tmp_path / 'clip')}"))
    captions = ["<script>alert(1)</script> größer", "two", "three"]
    members = [m for number, words in enumerate(captions) for m in sample(f"k{number}", number, words)]
    write_shard(tmp_path / "shards", "00000", [*members, ("again.bmp", picture(1, form="BMP"))])
    uri = str(tmp_path / "corpora" / "mine")
    corpus.build.fn(uri, detect_source(str(tmp_path / "shards")), retrieval)
    page = corpus.query_page(uri, 'a "chart"', k=5)
    assert page.count('<img src="data:image/') == 3
    assert "&lt;script&gt;alert(1)&lt;/script&gt; größer" in page and "<script>" not in page
    assert "00000/k0 · 112 × 112" in page and "one of 2 near-duplicates: 00000/k1" in page
    (hits,) = corpus.query(uri, ['a "chart"'], k=5)
    assert [f"{hit.score:.3f}" in page for hit in hits] == [True] * 3


def test_a_query_filters_by_words_and_sizes_and_ranks_by_words(tmp_path: Path) -> None:
    retrieval = RetrievalConfig(clip=Clip(model=f"local-dir:{write_tiny_clip(tmp_path / 'clip')}"))
    captions = ["sales by year, a chart", "a dog", "another chart", "the same dog"]
    members = [m for number, words in enumerate(captions) for m in sample(f"k{number}", number, words)]
    write_shard(tmp_path / "shards", "00000", members)
    uri = str(tmp_path / "corpora" / "mine")
    corpus.build.fn(uri, detect_source(str(tmp_path / "shards")), retrieval)

    def keys(text: str, only: Filter | None = None, fusion: bool = False) -> list[str]:
        (hits,) = corpus.query(uri, [text], 4, only, fusion)
        return [hit.key for hit in hits]

    assert set(keys("a chart", Filter(words=("chart",)))) == {"00000/k0", "00000/k2"}
    assert keys("a chart", Filter(min_side=10_000)) == []
    assert keys("sales by year", fusion=True)[0] == "00000/k0"
    assert "00000/k1" not in corpus.query_page(uri, "a chart", 4, Filter(words=("chart",)))


def test_an_address_is_a_folder_of_images_or_of_shards(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(picture(1))
    assert isinstance(detect_source(str(tmp_path / "photos")), FolderCorpus)
    assert isinstance(detect_source(str(ordinary_shards(tmp_path / "shards"))), LaionCorpus)
    assert isinstance(detect_source("s3://bucket/shards"), LaionCorpus)


def test_an_empty_folder_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is empty: give a folder of \.tar shards, or of pictures"):
        detect_source(str(tmp_path)).check()
