"""Ordinary photographs, in a folder and in shards, through a whole build."""

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
    """Photographs shipped with scikit-learn, scikit-image and matplotlib, by file name."""
    learn, image = Path(sklearn.datasets.__file__).parent / "images", Path(skimage.__file__).parent / "data"
    folders = [learn, image, Path(matplotlib.get_data_path()) / "sample_data"]
    files = sorted(file for folder in folders for file in folder.iterdir() if file.suffix in (".jpg", ".png", ".tif"))
    return {file.name: file.read_bytes() for file in files}


@pytest.fixture(params=["folder", "laion"])
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> SearchableCorpus:
    """A corpus of photographs, embedded by the shipped model."""
    originals, folder = photographs(), tmp_path / "photographs"
    if request.param == "laion":
        write_shard(folder, "00000", list(originals.items()))
    else:
        folder.mkdir()
        for name, data in originals.items():
            (folder / name).write_bytes(data)
    place = Place(Store(str(tmp_path / "store")), "corpora/photographs")
    source = LaionCorpus(shards=str(folder)) if request.param == "laion" else FolderCorpus(path=str(folder))
    build_corpus(place, source, RetrievalConfig())
    return open_corpus(place)


def test_photographs_are_a_corpus(corpus: SearchableCorpus) -> None:
    originals, rows = photographs(), corpus.samples.to_pylist()
    assert {row["member"] for row in rows} == set(originals)
    unknown = {row["member"] for row in rows if (row["reason"] or "").startswith("broken")}
    assert unknown <= {"multipage_rgb.tif"}  # colours of 64 bits, which Pillow does not know
    served = {row["member"]: row["key"] for row in rows if row["reason"] is None}
    assert {"china.jpg", "flower.jpg", "grace_hopper.jpg"} <= set(served)
    for name, key in served.items():
        (picture,) = corpus.pictures([key])
        assert picture.data == originals[name]
        assert {*picture.image.size} == {*Image.open(io.BytesIO(originals[name])).size}
    (hits,) = corpus.search(["a photograph of a flower"], 3)
    assert len({hit.key for hit in hits}) == len(hits) >= 1
