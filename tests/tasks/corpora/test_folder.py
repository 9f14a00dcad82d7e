"""Folders of image files as a corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.corpora import FolderCorpus
from tasks.corpora.sample import Location, Sample, StaleShard
from tasks.corpora.table import SampleTable
from tasks.records import to_table
from tasks.settings.errors import UserError
from tests.fixtures.shards import picture


def photos(root: Path) -> Path:
    folder = root / "photos"
    (folder / "trip").mkdir(parents=True)
    (folder / "cat.png").write_bytes(picture(1))
    (folder / "cat.jpg").write_bytes(picture(2, form="JPEG"))
    (folder / "cat.txt").write_text("a cat\n")
    (folder / "bad.jpg").write_bytes(b"nothing")
    (folder / "trip" / "sea.PNG").write_bytes(picture(3))
    return folder


def read(corpus: FolderCorpus, shard: str) -> list[Sample]:
    with corpus.shard(shard) as reader:
        return [decoded.sample for decoded in reader.read()]


def place(sample: Sample) -> Location:
    return SampleTable(to_table(Sample, [sample])).locate([sample.key])[0]


def test_each_folder_is_a_shard_with_captions_beside_pictures(tmp_path: Path) -> None:
    corpus = FolderCorpus(path=str(photos(tmp_path)))
    assert [shard.name for shard in corpus.listing()] == ["photos", "photos/trip"]
    rows = {row.key: row for listed in corpus.listing() for row in read(corpus, listed.name)}
    assert set(rows) == {"photos/bad.jpg", "photos/cat.jpg", "photos/cat.png", "photos/trip/sea.PNG"}
    assert rows["photos/cat.png"].caption == "a cat"
    assert (rows["photos/bad.jpg"].reason or "").startswith("broken")
    assert corpus.pictures([place(rows["photos/trip/sea.PNG"])])[0].data == picture(3)


def test_a_changed_file_is_refused_and_listed_anew(tmp_path: Path) -> None:
    corpus = FolderCorpus(path=str(photos(tmp_path)))
    (sample,) = read(corpus, "photos/trip")
    before = corpus.listing()
    (tmp_path / "photos" / "trip" / "sea.PNG").write_bytes(picture(4))
    with pytest.raises(StaleShard):
        corpus.pictures([place(sample)])
    assert corpus.listing() != before


def test_a_folder_without_pictures_is_a_user_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UserError, match="no pictures"):
            FolderCorpus(path=str(path)).listing()
