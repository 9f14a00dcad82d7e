"""A corpus and a round in an object store have the same fingerprints and bytes as on a disk.

The object store is the tests' small S3 server, or the server at `AWS_ENDPOINT_URL`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from s3fs import S3FileSystem

from tasks.config import load_config
from tasks.corpora import LaionCorpus
from tasks.corpus import add_to_corpus, build_corpus, corpus_place, open_corpus
from tasks.retrieval import RetrievalConfig
from tasks.retrieval.clip import Clip
from tasks.store import Manifest, Store
from tests.fixtures.shards import ordinary_shards, picture
from tests.fixtures.small_s3 import small_s3
from tests.fixtures.tiny_clip import write_tiny_clip
from tests.fixtures.tiny_round import write_tiny_config


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    """One server for all tests here: open file systems keep its address."""
    S3FileSystem.clear_instance_cache()  # those of other tests keep the addresses of their servers
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    with small_s3() as address, pytest.MonkeyPatch.context() as monkey:
        if "AWS_ENDPOINT_URL" not in os.environ:
            for variable, value in {**keys, "AWS_ENDPOINT_URL": address}.items():
                monkey.setenv(variable, value)
        yield


@pytest.fixture
def bucket(server: None) -> str:
    """The name of a new bucket."""
    name = f"corpus-{uuid4().hex[:12]}"
    Store(f"s3://{name}").fs.mkdir(name)
    return name


def complete(store: Store) -> dict[str, tuple[str, dict[str, str]]]:
    """Fingerprint and files' sha256 of every complete stage, by the stage's address."""
    files = [path for path in store.fs.find(store.root) if path.endswith("/manifest.json")]
    manifests = {path: Manifest.model_validate_json(store.fs.cat_file(path)) for path in files}
    return {
        path.removeprefix(f"{store.root}/"): (manifest.fingerprint, {file.name: file.sha256 for file in manifest.files})
        for path, manifest in manifests.items()
    }


def test_a_corpus_in_a_bucket_equals_one_on_a_disk(tmp_path: Path, bucket: str) -> None:
    config = RetrievalConfig(clip=Clip(model=f"local-dir:{write_tiny_clip(tmp_path / 'clip')}"))
    ordinary_shards(tmp_path / "first", shards=2, pictures=6)
    ordinary_shards(tmp_path / "more", shards=1, pictures=6, first=2)
    there = Store(f"s3://{bucket}/store")
    for name in ("first", "more"):
        there.fs.put(str(tmp_path / name), f"{bucket}/{name}", recursive=True)
    homes = {str(tmp_path / "store"): str(tmp_path), there.url: f"s3://{bucket}"}
    for home, shards in homes.items():
        build_corpus(corpus_place(f"{home}/corpora/c"), LaionCorpus(shards=f"{shards}/first"), config)
        add_to_corpus(corpus_place(f"{home}/corpora/c"), LaionCorpus(shards=f"{shards}/more"))
    here, in_bucket = (complete(Store(home)) for home in homes)
    apart = {"corpora/c/catalog/manifest.json"}  # has the addresses of the shards
    stamped = {name for name in here if name.endswith("/shard/manifest.json")}  # by mtime here, by ETag there
    assert here.keys() == in_bucket.keys()
    assert {name: here[name] for name in here.keys() - apart - stamped} == {
        name: in_bucket[name] for name in here.keys() - apart - stamped
    }
    assert {name: here[name][1] for name in stamped} == {name: in_bucket[name][1] for name in stamped}
    corpus = open_corpus(corpus_place(f"{there.url}/corpora/c"))
    keys = ["00002/000020003", "00000/000000001", "00002/000020004"]
    assert [picture.data for picture in corpus.pictures(keys)] == [picture(15), picture(1), picture(16)]


@pytest.mark.slow
def test_a_round_in_a_bucket_has_the_fingerprints_of_a_disk(tmp_path: Path, bucket: str, prefect_server: None) -> None:
    from prefect import flow

    from flows.history import start_of
    from flows.round import play_round
    from tests.fixtures.stages import FOLDER

    config = load_config(write_tiny_config(tmp_path))
    here, there = Store(str(tmp_path / "store")), Store(f"s3://{bucket}/store")
    for store in (here, there):
        flow(play_round)(config, store, "r", 1, start_of(config, store, "r", 1))
    ours, theirs = complete(here), complete(there)
    of_rounds = [path for path in ours if path.startswith("runs/")]
    assert len(of_rounds) == len(FOLDER) + 1
    assert ours.keys() == theirs.keys()
    for path in of_rounds:
        assert ours[path][0] == theirs[path][0], f"another fingerprint: {path}"
        timed = path.split("/")[-2] == FOLDER["report"]  # it has the seconds of the stages
        assert timed or ours[path] == theirs[path], f"other bytes: {path}"
