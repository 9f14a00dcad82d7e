"""Hostile shards: a thousand good, broken, damaged and malicious pictures through a whole build."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from tasks.corpora import LaionCorpus
from tasks.corpora.sample import Sample, reason_kind
from tasks.corpus import build_corpus, built_index, corpus_place, open_corpus
from tasks.retrieval import RetrievalConfig, SearchableCorpus
from tasks.retrieval.clip import Clip
from tasks.store import Artifact
from tests.fixtures.hostile import Hostile, write_hostile
from tests.fixtures.tiny_clip import write_tiny_clip

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")


BUILD = """
import sys
from pathlib import Path
from tests.tasks.corpora.test_hostile import build
build(*sys.argv[1:])
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""
"""Prints the peak memory in KiB. Not `ru_maxrss`: it begins at the memory of the process that started this one."""


class Built(NamedTuple):
    hostile: Hostile
    index: Artifact[Sample]
    corpus: SearchableCorpus
    root: Path
    growth: int
    """Most bytes of memory that the process had during the build, beyond what it had with the model loaded."""


def build(shards: str, uri: str, clip: str) -> int:
    """The corpus at `uri`; returns how many bytes the process grew by."""
    config = RetrievalConfig(clip=Clip(model=f"local-dir:{clip}"))
    config.clip.open().embed_images([Image.new("RGB", (32, 32))])
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts anew
    before = memory("VmRSS")
    build_corpus(corpus_place(uri), LaionCorpus(shards=shards), config)
    return memory("VmHWM") - before


def memory(name: str) -> int:
    """Bytes, as Linux counts them for this process."""
    match = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match
    return 1024 * int(match[1])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    root = tmp_path_factory.mktemp("hostile")
    hostile = write_hostile(root / "a" / "b" / "shards")
    uri = str(root / "store" / "corpora" / "hostile")
    growth = build(str(hostile.folder), uri, str(write_tiny_clip(root / "clip")))
    place = corpus_place(uri)
    return Built(hostile, built_index(place), open_corpus(place), root, growth)


def reasons(built: Built) -> dict[str, list[str | None]]:
    by_key: dict[str, list[str | None]] = {}
    for row in built.index.read():
        by_key.setdefault(row.key, []).append(row.reason)
    return by_key


def test_every_good_picture_is_served_byte_identical(built: Built) -> None:
    keys = sorted(built.hostile.good)
    assert [picture.data for picture in built.corpus.pictures(keys)] == [built.hostile.good[key] for key in keys]
    assert len(built.corpus) == len(keys)


def test_every_bad_picture_is_a_row_with_its_reason(built: Built) -> None:
    reasons_by_key = reasons(built)
    assert {key: reason_kind(reasons_by_key[key][0]) for key in built.hostile.bad} == built.hostile.bad
    assert set(reasons_by_key) == built.hostile.good.keys() | built.hostile.bad.keys()
    twice = [key for key, row_reasons in reasons_by_key.items() if len(row_reasons) > 1]
    assert len(twice) == 20
    assert all(
        reasons_by_key[key][0] is None and reason_kind(reasons_by_key[key][1]) == "duplicate key" for key in twice
    )


def test_nothing_is_written_outside_the_store(built: Built) -> None:
    outside = {file.name for file in built.root.rglob("*") if file.is_file() and "store" not in file.parts}
    ours = {file.name for folder in (built.hostile.folder, built.root / "clip") for file in folder.rglob("*")}
    assert outside == ours
    assert not Path("/etc/x.png").exists()


def test_memory_stays_bounded_for_pictures_that_unfold(built: Built) -> None:
    """Python with torch and the model takes 0.95 GB."""
    assert built.growth < 0.5e9


@pytest.mark.slow
def test_a_build_process_needs_less_than_1500_megabytes(built: Built) -> None:
    program = [
        sys.executable,
        "-c",
        BUILD,
        str(built.hostile.folder),
        str(built.root / "again"),
        str(built.root / "clip"),
    ]
    output = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).parents[3])
    print(f"{1024 * int(output.stdout) / 1e9:.2f} GB")
    assert 1024 * int(output.stdout) < 1.5e9


def test_pictures_are_served_as_embedded_upright(built: Built) -> None:
    for key, size in built.hostile.upright.items():
        (picture,) = built.corpus.pictures([key])
        sample = built.corpus.sample(key)
        assert (sample.width, sample.height) == picture.image.size == size


def test_metadata_reaches_the_row_under_any_name_and_order(built: Built) -> None:
    row = built.corpus.sample("00000/000000011")
    assert (row.url, row.caption) == ("http://example.invalid/000000011", "plain words")
    assert (row.similarity, row.punsafe, row.pwatermark) == (0.3, 0.02, 0.1)
    assert built.corpus.sample("00003/000030001").punsafe == 0.01
