"""`kill -9` at any moment of a corpus build or addition: run again, no shard is embedded twice, no byte differs."""

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
    with player("corpus") as one:
        yield one


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Shards, one of them damaged, further ones to be added, and a model."""
    with quick_folder() as folder:
        ordinary_shards(folder / "shards", shards=3, pictures=12)
        whole = write_shard(folder / "shards", "00003", [("a.bmp", b"BM"), ("b.bmp", bytes(9000))])
        whole.write_bytes(whole.read_bytes()[:4000])
        ordinary_shards(folder / "added", shards=2, pictures=8, first=4)
        write_tiny_clip(folder / "clip")
        yield folder


def contents(place: Place) -> dict[str, dict[str, str]]:
    """sha256 of every file of every complete stage of a corpus, by where it lies and its name."""
    root = Path(place.store.root, place.prefix)
    found = {}
    for file in root.rglob("manifest.json"):
        manifest = Manifest.model_validate_json(file.read_text())
        found[file.parent.relative_to(root).as_posix()] = {one.name: one.sha256 for one in manifest.files}
    return found


def embedded(place: Place, shards: int) -> Counter[str]:
    """How often each shard's embeddings were committed."""
    return Counter(
        f"{shard:05d}"
        for shard in range(shards)
        for entry in Place(place.store, f"{place.prefix}/parts/{shard:05d}").journal.entries()
        if entry.commit and entry.commit.stage == "embeddings"
    )


def disturbed(builder: Player, store: Store, run: str, draw: Random, longest: float, **what: Any) -> int:
    """Kill at random moments until it is through; how often it was killed."""
    killed = 0
    while True:
        answer = builder.play(store.url, run, seconds=draw.uniform(0, longest), **what)
        assert answer["status"] in (0, KILLED), answer
        if answer["status"] == 0:
            return killed
        killed += 1


@pytest.mark.parametrize("kills", [8, pytest.param(200, marks=pytest.mark.slow)])
def test_a_build_and_an_addition_that_are_killed_end_as_if_nothing_had_been(
    builder: Player, folder: Path, kills: int
) -> None:
    build = {"clip": str(folder / "clip"), "shards": str(folder / "shards")}
    add = {"clip": str(folder / "clip"), "added": str(folder / "added")}
    with quick_folder() as stores:
        store, seconds = Store(str(stores)), []
        for what in (build, add):
            started = time.monotonic()
            assert builder.play(store.url, "calm", **what)["status"] == 0
            seconds.append(time.monotonic() - started)
        calm = contents(Place(store, "corpora/calm"))
        assert len(calm) == 2 * 6 + 2
        killed, draw = 0, Random(kills)
        while killed < kills:
            run = f"run{killed}"
            for what, longest in zip((build, add), seconds, strict=True):
                killed += disturbed(builder, store, run, draw, longest, **what)
            place = Place(store, f"corpora/{run}")
            assert contents(place) == calm
            assert embedded(place, 6) == Counter([f"{shard:05d}" for shard in range(6)])
