"""Ordinary photographs, loose and in shards, through the same code as everything else."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib
import pytest
import skimage
import sklearn.datasets
from PIL import Image

from tasks.corpora import FolderCorpus, LaionCorpus
from tasks.corpus import build_corpus, open_corpus
from tasks.retrieval import RetrievalConfig, SearchableCorpus
from tasks.store import Place, Store
from tests.fixtures.shards import write_shard


def photographs() -> dict[str, bytes]:
    """What scikit-learn, scikit-image and matplotlib bring along, by file name."""
    learn, image = Path(sklearn.datasets.__file__).parent / "images", Path(skimage.__file__).parent / "data"
    folders = [learn, image, Path(matplotlib.get_data_path()) / "sample_data"]
    files = sorted(file for folder in folders for file in folder.iterdir() if file.suffix in (".jpg", ".png", ".tif"))
    return {file.name: file.read_bytes() for file in files}


@pytest.fixture(params=["folder", "laion"])
def library(request: pytest.FixtureRequest, tmp_path: Path) -> SearchableCorpus:
    """A corpus of photographs, embedded by the model that is shipped."""
    shots, folder = photographs(), tmp_path / "photographs"
    if request.param == "laion":
        write_shard(folder, "00000", list(shots.items()))
    else:
        folder.mkdir()
        for name, data in shots.items():
            (folder / name).write_bytes(data)
    place = Place(Store(str(tmp_path / "store")), "corpora/photographs")
    corpus = LaionCorpus(shards=str(folder)) if request.param == "laion" else FolderCorpus(path=str(folder))
    build_corpus(place, corpus, RetrievalConfig())
    return open_corpus(place)


def test_photographs_are_a_corpus(library: SearchableCorpus) -> None:
    shots, rows = photographs(), library.samples.to_pylist()
    assert {row["member"] for row in rows} == set(shots)
    unknown = {row["member"] for row in rows if (row["reason"] or "").startswith("broken")}
    assert unknown <= {"multipage_rgb.tif"}  # colours of 64 bits, which Pillow does not know
    served = {row["member"]: row["key"] for row in rows if row["reason"] is None}
    assert {"china.jpg", "flower.jpg", "grace_hopper.jpg"} <= set(served)
    for name, key in served.items():
        (picture,) = library.pictures([key])
        assert picture.data == shots[name]
        assert {*picture.image.size} == {*Image.open(io.BytesIO(shots[name])).size}
    (hits,) = library.search(["a photograph of a flower"], 3)
    assert len({hit.key for hit in hits}) == len(hits) >= 1
