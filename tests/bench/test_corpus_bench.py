"""Reading back, adding and re-reading a corpus beside what one would use instead. Opt-in: `make bench`.

Seconds are processor time where both sides compute, and wall time where a disk is read (its pages are in memory).
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from tasks.corpora import LaionCorpus
from tasks.corpora.decode import check_of
from tasks.corpora.sample import Location, Sample
from tasks.corpora.table import SampleTable
from tasks.corpora.tar import members
from tasks.corpus import add_to_corpus, build_corpus, embed
from tasks.records import to_table
from tasks.records.picture import upright_rgb
from tasks.retrieval import RetrievalConfig
from tasks.retrieval.clip import Clip, Preprocess
from tasks.settings.overlay import ROOT
from tasks.store import Place, Store
from tests.fixtures.shards import tar_bytes
from tests.fixtures.tiny_clip import write_tiny_clip

SHARDS, PICTURES, WANTED = 20, 1000, 1000
BUCKET = "corpus-bench"


class CorpusHandle(NamedTuple):
    """Shards of about 61 MB, and the rows that a build would keep of them."""

    folder: Path
    rows: SampleTable

    def wanted(self, seed: int) -> list[str]:
        return Random(seed).sample(self.rows.table["key"].to_pylist(), WANTED)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> CorpusHandle:
    folder, samples, jpegs = tmp_path_factory.mktemp("shelf"), [], photographs(40)
    for shard in range(SHARDS):
        name, draw = f"{shard:05d}", Random(shard)
        data = tar_bytes([m for number in range(PICTURES) for m in members_of(f"{name}{number:04d}", jpegs, draw)])
        (folder / f"{name}.tar").write_bytes(data)
        samples += [
            Sample(
                key=f"{name}/{one.name[:-4]}",
                shard=name,
                member=one.name,
                offset=one.offset,
                size=one.size,
                check=check_of(one.header, one.data or b""),
            )
            for one in members(io.BytesIO(data), 1 << 30)
            if one.name.endswith(".jpg")
        ]
    return CorpusHandle(folder, SampleTable(to_table(Sample, samples)))


def photographs(count: int) -> list[bytes]:
    """JPEGs of 512 x 384 pixels and about 60 KB."""
    found, draw = [], np.random.default_rng(0)
    for _ in range(count):
        blocks = Image.fromarray(draw.integers(0, 255, (60, 80, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        blocks.resize((512, 384), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        found.append(buffer.getvalue())
    return found


def members_of(key: str, jpegs: list[bytes], draw: Random) -> list[tuple[str, bytes]]:
    """As img2dataset writes a sample. What follows a JPEG's end is ignored, and makes each file one of its own."""
    facts = {"key": key, "url": f"http://example.invalid/{key}", "caption": "a photograph of something, long enough"}
    own = draw.choice(jpegs) + draw.randbytes(16) + bytes(draw.randrange(2000))
    return [(f"{key}.jpg", own), (f"{key}.txt", facts["caption"].encode()), (f"{key}.json", json.dumps(facts).encode())]


def best(work: Callable[[], Any], times: int = 5) -> float:
    """Least wall seconds of several."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found)


@contextmanager
def opened(shelf: CorpusHandle, keys: list[str]) -> Iterator[list[tuple[int, Location]]]:
    """Open files and known offsets: what a bare `pread` needs."""
    files = {path.stem: os.open(path, os.O_RDONLY) for path in shelf.folder.glob("*.tar")}
    try:
        yield [(files[one.shard], one) for one in shelf.rows.locate(keys)]
    finally:
        for descriptor in files.values():
            os.close(descriptor)


def scan(shelf: CorpusHandle, keys: list[str]) -> int:
    """What webdataset has for reading by key: all samples of the shards in order, until the last one was seen."""
    import webdataset

    left = set(keys)
    urls = [str(path) for path in sorted(shelf.folder.glob("*.tar"))]
    for sample in webdataset.WebDataset(urls, shardshuffle=False):
        left.discard(f"{Path(sample['__url__']).stem}/{sample['__key__']}")
        if not left:
            break
    return len(left)


def by_name(shelf: CorpusHandle, key: str) -> bytes:
    shard, _, name = key.partition("/")
    with tarfile.open(shelf.folder / f"{shard}.tar") as tar:
        member = tar.extractfile(f"{name}.jpg")
        assert member
        return member.read()


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_a_thousand_pictures_by_key(shelf: CorpusHandle, benchmark: Any) -> None:
    corpus, keys = LaionCorpus(shards=str(shelf.folder)), shelf.wanted(0)
    shelf.rows.locate(shelf.wanted(1))
    assert [found.data for found in corpus.pictures(shelf.rows.locate(keys[:5]))] == [
        by_name(shelf, key) for key in keys[:5]
    ]
    with opened(shelf, keys) as known:
        bare = best(lambda: [os.pread(file, one.size, one.offset) for file, one in known])
    ours = best(lambda: corpus.pictures(shelf.rows.locate(keys)))
    benchmark.pedantic(lambda: corpus.pictures(shelf.rows.locate(keys)), rounds=3)
    scanned = best(lambda: scan(shelf, keys), times=1)
    named = best(lambda: [by_name(shelf, key) for key in keys[:10]], times=1) * WANTED / 10
    told = {
        "a picture by key, us": 1e6 * ours / WANTED,
        "bare pread at known offsets, us": 1e6 * bare / WANTED,
        "ours / bare": ours / bare,
        "webdataset scan / ours": scanned / ours,
        "tarfile by name / ours": named / ours,
    }
    tell(told, benchmark)
    assert told["ours / bare"] <= 3
    assert told["webdataset scan / ours"] >= 50
    assert told["tarfile by name / ours"] >= 1000


@pytest.mark.bench
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not os.environ.get("AWS_ENDPOINT_URL"), reason="needs an S3 server: AWS_ENDPOINT_URL and keys")
def test_a_thousand_pictures_from_an_object_store(shelf: CorpusHandle, benchmark: Any) -> None:
    from tasks.store.files import open_filesystem

    fs, _ = open_filesystem(f"s3://{BUCKET}")
    if not fs.exists(BUCKET):
        fs.mkdir(BUCKET)
    for path in shelf.folder.glob("*.tar"):
        fs.put_file(str(path), f"{BUCKET}/{path.name}")
    corpus, wanted = LaionCorpus(shards=f"s3://{BUCKET}"), shelf.rows.locate(shelf.wanted(0))
    with counted(fs) as requests:
        start = time.perf_counter()
        pictures = corpus.pictures(wanted)
        seconds = time.perf_counter() - start
    assert [one.data for one in pictures[:5]] == [by_name(shelf, one.key) for one in wanted[:5]]
    benchmark.pedantic(lambda: corpus.pictures(wanted), rounds=1)
    told = {
        "requests a picture": len(requests) / WANTED,
        "bytes fetched / pictures' bytes": sum(requests) / sum(one.size for one in wanted),
        "ms a picture": 1e3 * seconds / WANTED,
    }
    tell(told, benchmark)
    assert told["requests a picture"] < 1
    assert told["bytes fetched / pictures' bytes"] <= 1.2


@contextmanager
def counted(fs: Any) -> Iterator[list[int]]:
    """Bytes of every answer of an s3fs while it lasts."""
    call, sizes = fs._call_s3, []

    async def counting(method: str, *args: Any, **options: Any) -> Any:
        answer = await call(method, *args, **options)
        sizes.append(int(answer.get("ContentLength") or 0))
        return answer

    fs._call_s3 = counting
    try:
        yield sizes
    finally:
        fs._call_s3 = call


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_one_shard_more_beside_a_rebuild(tmp_path: Path, benchmark: Any) -> None:
    """20 shards and one more of 400 pictures; the model is loaded in both cases. The larger the shards (img2dataset's
    hold 10 000), the nearer the ratio comes to 21."""
    jpegs, shards, more = photographs(400), tmp_path / "shards", tmp_path / "more"
    for number in range(SHARDS + 1):
        folder, name, draw = (shards if number < SHARDS else more), f"{number:05d}", Random(number)
        folder.mkdir(exist_ok=True)
        pieces = [m for i in range(400) for m in members_of(f"{name}{i:04d}", jpegs, draw)]
        (folder / f"{name}.tar").write_bytes(tar_bytes(pieces))
    config = RetrievalConfig(clip=Clip(model=f"local-dir:{write_tiny_clip(tmp_path / 'clip')}"))
    config.clip.open()
    place = Place(Store(str(tmp_path / "store")), "corpora/bench")
    build_corpus(place, LaionCorpus(shards=str(shards)), config)
    start = time.process_time()
    benchmark.pedantic(lambda: add_to_corpus(place, LaionCorpus(shards=str(more))), rounds=1)
    added = time.process_time() - start
    (more / "00020.tar").rename(shards / "00020.tar")
    start = time.process_time()
    build_corpus(Place(place.store, "corpora/again"), LaionCorpus(shards=str(shards)), config)
    rebuilt = time.process_time() - start
    told = {"add, CPU s": added, "rebuild, CPU s": rebuilt, "rebuild / add": rebuilt / added}
    tell(told, benchmark)
    assert told["rebuild / add"] >= 15


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_embedding_beside_its_slower_half(tmp_path: Path, benchmark: Any) -> None:
    """A shard through `embed_shard`, beside open_clip's bare forward pass on tensors that are ready, and beside the
    decoder alone: what reads, decodes, checks and shrinks pictures and embeds none. On the same threads. Told beside
    it: Pillow and open_clip's resizing of bytes in memory, which need no hash, no check and no model.
    """
    import torch

    jpegs, name = photographs(40), "00000"
    pieces = [m for i in range(256) for m in members_of(f"{name}{i:04d}", jpegs, Random(i))]
    (tmp_path / f"{name}.tar").write_bytes(tar_bytes(pieces))
    corpus, model, data = (
        LaionCorpus(shards=str(tmp_path)),
        Clip().open(),
        [data for name, data in pieces if ".jpg" in name],
    )
    bare = open_clip_model()
    with corpus.shard(name) as source:
        pictures = [read.image for read in source.read(model.fit) if read.image is not None]
        tensors = Preprocess(dict(bare.visual.preprocess_cfg))(pictures)

        def forward() -> None:
            with torch.inference_mode():
                for start in range(0, len(tensors), 64):
                    bare.encode_image(tensors[start : start + 64], normalize=True)

        def decoder() -> None:
            for _ in source.read(model.fit):
                pass

        def pillow() -> None:
            with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
                deque(pool.map(lambda data: model.fit(upright_rgb(Image.open(io.BytesIO(data)))), data), maxlen=0)

        rounds = [
            tuple(best(work, 1) for work in (forward, decoder, pillow, lambda: embed(source.read(model.fit), model)))
            for _ in range(4)
        ]
    benchmark.pedantic(lambda: embed(source.read(model.fit), model), rounds=1)
    alone, decoded, unpacked, both = (min(column) for column in zip(*rounds, strict=True))
    told = {
        "pictures a second": len(pictures) / both,
        "forward alone": len(pictures) / alone,
        "decoder alone": len(pictures) / decoded,
        "Pillow alone": len(pictures) / unpacked,
        "ours / Pillow alone": unpacked / both,
        "ours / the slower": max(alone, decoded) / both,
    }
    tell(told, benchmark)
    assert told["ours / the slower"] >= 0.9


def open_clip_model() -> Any:
    """The shipped model as open_clip opens it."""
    import open_clip

    return open_clip.create_model(f"local-dir:{ROOT / 'infra/models/clip'}", require_pretrained=True).eval()


def tell(told: dict[str, float], benchmark: Any) -> None:
    print("\n" + ", ".join(f"{name} {value:.3g}" for name, value in told.items()))
    benchmark.extra_info.update(told)
