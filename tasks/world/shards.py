"""Render a corpus of the micro world in img2dataset's layout: tar, parquet and stats for each shard.

The corpus is long-tailed, as the open web is: a given share of it is trivial, and the other domains follow with weights
1, 1/2, 1/3, ... The same arguments give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from tasks.world.scene import DOMAINS, TRIVIAL, Scene
from tasks.world.splits import CORPUS, Seeds

TAR_HEADER: dict[str, Any] = {"user": "", "group": "", "mode": 0o644, "mtime": 0}
"""No owner and no time in the headers, so that the same pictures give the same bytes."""


def draw_corpus(pictures: int, seed: int, trivial: float, seeds: Seeds = CORPUS) -> Iterator[Scene]:
    """Draw `pictures` scenes, of which a share of about `trivial` is of the trivial domain."""
    rng = Random(f"corpus/{seed}")
    others = [domain for domain in DOMAINS if domain != TRIVIAL]
    weights = [1 / rank for rank in range(1, len(others) + 1)]
    for _ in range(pictures):
        domain = TRIVIAL if rng.random() < trivial else rng.choices(others, weights)[0]
        yield Scene(domain, rng.randint(1, 3), seeds.draw(rng))


def write_shards(
    folder: Path,
    pictures: int,
    seed: int,
    per_shard: int = 1000,
    trivial: float = 0.6,
    exclude: frozenset[str] = frozenset(),
    on_picture: Callable[[], None] = lambda: None,
) -> list[str]:
    """Write `00000.tar`, `00000.parquet`, `00000_stats.json` ... into `folder` and return the shards' stems.

    `exclude` holds the sha256 of pictures (PNG) that must not occur: the held-out ones. Stats are written last, so a
    shard without stats is incomplete.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scenes = [(scene, scene.png()) for scene in _counted(draw_corpus(pictures, seed, trivial), on_picture)]
    kept = [(scene, png) for scene, png in scenes if hashlib.sha256(png).hexdigest() not in exclude]
    rng, stems = Random(f"captions/{seed}"), []
    for number, start in enumerate(range(0, len(kept), per_shard)):
        stem = f"{number:05d}"
        _write_shard(folder, stem, kept[start : start + per_shard], rng)
        stems.append(stem)
    return stems


def _counted(scenes: Iterator[Scene], on_picture: Callable[[], None]) -> Iterator[Scene]:
    for scene in scenes:
        yield scene
        on_picture()


def _write_shard(folder: Path, stem: str, samples: list[tuple[Scene, bytes]], rng: Random) -> None:
    import pandas as pd
    from webdataset import TarWriter

    rows = [_row(f"{stem}{i:04d}", scene, png, rng) for i, (scene, png) in enumerate(samples)]
    with (folder / f"{stem}.tar").open("wb") as file, TarWriter(file, **TAR_HEADER) as tar:
        for row, (_, png) in zip(rows, samples, strict=True):
            for extension, data in (("png", png), ("txt", row["caption"]), ("json", json.dumps(row))):
                tar.write({"__key__": row["key"], extension: data})  # one member a call: TarWriter sorts a sample's
    pd.DataFrame(rows).to_parquet(folder / f"{stem}.parquet", index=False)
    stats = {"count": len(rows), "successes": len(rows), "failed_to_download": 0, "failed_to_resize": 0}
    (folder / f"{stem}_stats.json").write_text(json.dumps(stats))


def _row(key: str, scene: Scene, png: bytes, rng: Random) -> dict[str, Any]:
    """A metadata row with img2dataset's columns under LAION's names."""
    size = {"width": 112, "height": 112, "original_width": 112, "original_height": 112}
    digest = hashlib.sha256(png).hexdigest()
    inputs = {"url": scene.url, "caption": rng.choice(scene.captions())}
    return {**inputs, "key": key, "status": "success", "error_message": None, **size, "exif": "{}", "sha256": digest}
