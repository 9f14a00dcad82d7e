"""`kill -9` at any moment of a corpus build or addition: no shard is embedded twice, and no byte differs."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tasks.store import Manifest, Place, Store
from tests.chaos.arena import Player, player, quick_folder
from tests.fixtures.shards import ordinary_shards, write_shard
from tests.fixtures.tiny_clip import write_tiny_clip

KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def builder() -> Iterator[Player]:
    with player("corpus") as builder:
        yield builder


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder with shards, one of them damaged, more shards to add, and a CLIP model."""
    with quick_folder() as folder:
        ordinary_shards(folder / "shards", shards=3, pictures=12)
        whole = write_shard(folder / "shards", "00003", [("a.bmp", b"BM"), ("b.bmp", bytes(9000))])
        whole.write_bytes(whole.read_bytes()[:4000])
        ordinary_shards(folder / "added", shards=2, pictures=8, first=4)
        write_tiny_clip(folder / "clip")
        yield folder


def contents(place: Place) -> dict[str, dict[str, str]]:
    """sha256 of every file of every complete stage of a corpus, by the stage's folder and the file's name."""
    root = Path(place.store.root, place.prefix)
    sums = {}
    for file in root.rglob("manifest.json"):
        manifest = Manifest.model_validate_json(file.read_text())
        sums[file.parent.relative_to(root).as_posix()] = {part.name: part.sha256 for part in manifest.files}
    return sums


def embedded(place: Place, shards: int) -> Counter[str]:
    """Number of commits of each shard's embeddings."""
    return Counter(
        f"{shard:05d}"
        for shard in range(shards)
        for entry in Place(place.store, f"{place.prefix}/parts/{shard:05d}").journal.entries()
        if entry.commit and entry.commit.stage == "embeddings"
    )


def run_killed(builder: Player, store: Store, run: str, draw: Random, longest: float, **work: Any) -> int:
    """Kill the work at random moments and start it again until it ends. Returns the number of kills."""
    killed = 0
    while True:
        answer = builder.play(store.url, run, seconds=draw.uniform(0, longest), **work)
        assert answer["status"] in (0, KILLED), answer
        if answer["status"] == 0:
            return killed
        killed += 1


@pytest.mark.parametrize("kills", [8, pytest.param(200, marks=pytest.mark.slow)])
def test_killed_builds_end_with_the_same_bytes(builder: Player, folder: Path, kills: int) -> None:
    build = {"clip": str(folder / "clip"), "shards": str(folder / "shards")}
    add = {"clip": str(folder / "clip"), "added": str(folder / "added")}
    with quick_folder() as stores:
        store, seconds = Store(str(stores)), []
        for work in (build, add):
            started = time.monotonic()
            assert builder.play(store.url, "calm", **work)["status"] == 0
            seconds.append(time.monotonic() - started)
        calm = contents(Place(store, "corpora/calm"))
        assert len(calm) == 2 * 6 + 2
        killed, draw = 0, Random(kills)
        while killed < kills:
            run = f"run{killed}"
            for work, longest in zip((build, add), seconds, strict=True):
                killed += run_killed(builder, store, run, draw, longest, **work)
            place = Place(store, f"corpora/{run}")
            assert contents(place) == calm
            assert embedded(place, 6) == Counter([f"{shard:05d}" for shard in range(6)])
