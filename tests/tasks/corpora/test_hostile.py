"""A thousand pictures as an enemy, a crash and a careless mirror would leave them, through the whole build."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from tasks.corpora import Laion
from tasks.corpora.sample import Sample, kind_of
from tasks.index import build_corpus, open_library
from tasks.retrieval import Library, LibraryConfig
from tasks.retrieval.clip import Clip
from tasks.store import Artifact, Place, Store
from tests.fixtures.hostile import Hostile, write_hostile
from tests.fixtures.tiny_clip import write_tiny_clip

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")


class Built(NamedTuple):
    made: Hostile
    index: Artifact[Sample]
    library: Library
    root: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    root = tmp_path_factory.mktemp("hostile")
    made = write_hostile(root / "a" / "b" / "shards")
    place = Place(Store(str(root / "store")), "corpora/hostile")
    config = LibraryConfig(clip=Clip(model=f"local-dir:{write_tiny_clip(root / 'clip')}"))
    index = build_corpus(place, Laion(shards=str(made.folder)), config)
    return Built(made, index, open_library(place), root)


def reasons(built: Built) -> dict[str, list[str | None]]:
    found: dict[str, list[str | None]] = {}
    for row in built.index.read():
        found.setdefault(row.key, []).append(row.reason)
    return found


def test_every_good_picture_is_served_byte_identical(built: Built) -> None:
    keys = sorted(built.made.good)
    assert [picture.data for picture in built.library.pictures(keys)] == [built.made.good[key] for key in keys]
    assert len(built.library) == len(keys)


def test_every_bad_picture_is_a_row_with_its_reason(built: Built) -> None:
    found = reasons(built)
    assert {key: kind_of(found[key][0]) for key in built.made.bad} == built.made.bad
    assert set(found) == built.made.good.keys() | built.made.bad.keys()
    twice = [key for key, several in found.items() if len(several) > 1]
    assert len(twice) == 20
    assert all(found[key][0] is None and kind_of(found[key][1]) == "duplicate key" for key in twice)


def test_nothing_is_written_but_in_the_store(built: Built) -> None:
    outside = {file.name for file in built.root.rglob("*") if file.is_file() and "store" not in file.parts}
    ours = {file.name for folder in (built.made.folder, built.root / "clip") for file in folder.rglob("*")}
    assert outside == ours
    assert not Path("/etc/x.png").exists()


def test_pictures_are_shown_as_they_were_embedded_upright(built: Built) -> None:
    for key, size in built.made.upright.items():
        (picture,) = built.library.pictures([key])
        sample = built.library.sample(key)
        assert (sample.width, sample.height) == picture.image.size == size


def test_metadata_reaches_the_row_whatever_its_names_and_order(built: Built) -> None:
    row = built.library.sample("00000/000000011")
    assert (row.url, row.caption) == ("http://example.invalid/000000011", "plain words")
    assert (row.similarity, row.punsafe, row.pwatermark) == (0.3, 0.02, 0.1)
    assert built.library.sample("00003/000030001").punsafe == 0.01
