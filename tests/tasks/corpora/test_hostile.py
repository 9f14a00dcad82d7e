"""A thousand pictures as an enemy, a crash and a careless mirror would leave them, through the whole build."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tasks.corpora.sample import Sample, kind_of
from tasks.index import built_index, corpus_place, open_library
from tasks.retrieval import Library
from tasks.store import Artifact
from tests.fixtures.hostile import Hostile, write_hostile
from tests.fixtures.tiny_clip import write_tiny_clip

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")


BUILD = """
import resource, sys
from tasks.corpora import Laion
from tasks.index import build_corpus, corpus_place
from tasks.retrieval import LibraryConfig
from tasks.retrieval.clip import Clip
shards, uri, clip = sys.argv[1:]
build_corpus(corpus_place(uri), Laion(shards=shards), LibraryConfig(clip=Clip(model=f"local-dir:{clip}")))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


class Built(NamedTuple):
    made: Hostile
    index: Artifact[Sample]
    library: Library
    root: Path
    peak: int
    """Most bytes of memory that the building process had."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    root = tmp_path_factory.mktemp("hostile")
    made = write_hostile(root / "a" / "b" / "shards")
    uri, clip = str(root / "store" / "corpora" / "hostile"), write_tiny_clip(root / "clip")
    program = [sys.executable, "-c", BUILD, str(made.folder), uri, str(clip)]
    told = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).parents[3])
    place = corpus_place(uri)
    return Built(made, built_index(place), open_library(place), root, 1024 * int(told.stdout))


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


def test_memory_stays_bounded_whatever_the_pictures_unfold_to(built: Built) -> None:
    assert built.peak < 1.5e9


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
