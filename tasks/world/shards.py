"""Renders a corpus of the micro world as img2dataset writes one: tar, parquet and stats for each shard.

The corpus is long-tailed, as the open web is: a set share of it is trivial, and the teaching domains follow with
weights 1, 1/2, 1/3, ... The same arguments give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from tasks.world.scene import DOMAINS, TRIVIAL, Scene
from tasks.world.splits import CORPUS, Seeds


def draw_corpus(pictures: int, seed: int, trivial: float, seeds: Seeds = CORPUS) -> Iterator[Scene]:
    """`pictures` scenes of which a share of about `trivial` is plain."""
    rng = Random(f"corpus/{seed}")
    teaching = [domain for domain in DOMAINS if domain != TRIVIAL]
    weights = [1 / rank for rank in range(1, len(teaching) + 1)]
    for _ in range(pictures):
        domain = TRIVIAL if rng.random() < trivial else rng.choices(teaching, weights)[0]
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
    """Writes `00000.tar`, `00000.parquet`, `00000_stats.json` ... into `folder`; returns the shards' stems.

    `exclude` holds the sha256 of pictures (PNG) that must not occur: the held-out ones. Stats are written last, so
    that a shard without them is a partial one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scenes = [(scene, scene.png()) for scene in _seen(draw_corpus(pictures, seed, trivial), on_picture)]
    kept = [(scene, png) for scene, png in scenes if hashlib.sha256(png).hexdigest() not in exclude]
    rng, stems = Random(f"captions/{seed}"), []
    for number, start in enumerate(range(0, len(kept), per_shard)):
        stem = f"{number:05d}"
        _write_shard(folder, stem, kept[start : start + per_shard], rng)
        stems.append(stem)
    return stems


def _seen(scenes: Iterator[Scene], on_picture: Callable[[], None]) -> Iterator[Scene]:
    for scene in scenes:
        yield scene
        on_picture()


def _write_shard(folder: Path, stem: str, samples: list[tuple[Scene, bytes]], rng: Random) -> None:
    import pandas as pd

    rows = [_row(f"{stem}{i:04d}", scene, png, rng) for i, (scene, png) in enumerate(samples)]
    with tarfile.open(folder / f"{stem}.tar", "w") as tar:
        for row, (_, png) in zip(rows, samples, strict=True):
            _add(tar, f"{row['key']}.png", png)
            _add(tar, f"{row['key']}.txt", str(row["caption"]).encode())
            _add(tar, f"{row['key']}.json", json.dumps(row).encode())
    pd.DataFrame(rows).to_parquet(folder / f"{stem}.parquet", index=False)
    stats = {"count": len(rows), "successes": len(rows), "failed_to_download": 0, "failed_to_resize": 0}
    (folder / f"{stem}_stats.json").write_text(json.dumps(stats))


def _row(key: str, scene: Scene, png: bytes, rng: Random) -> dict[str, Any]:
    """img2dataset's columns, LAION's names."""
    size = {"width": 112, "height": 112, "original_width": 112, "original_height": 112}
    digest = hashlib.sha256(png).hexdigest()
    inputs = {"url": scene.url, "caption": rng.choice(scene.captions())}
    return {**inputs, "key": key, "status": "success", "error_message": None, **size, "exif": "{}", "sha256": digest}


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Adds a member without time or owner, so that the same pictures give the same bytes."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
