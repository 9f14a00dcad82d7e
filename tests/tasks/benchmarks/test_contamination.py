"""Copies of a benchmark's pictures are found in a corpus, other pictures are not; scores are split by contamination."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.benchmarks import BenchmarkItem
from tasks.benchmarks.contamination import (
    ContaminationConfig,
    contaminated_items,
    find_contamination,
    find_copies,
    find_similar,
    split_scores,
)
from tasks.corpora import FolderCorpus
from tasks.corpora.copy_detection import CopyDetector, differences, phash
from tasks.corpus import build_corpus, open_corpus
from tasks.records import Score
from tasks.records.picture import Picture
from tasks.retrieval import RetrievalConfig
from tasks.retrieval.clip import Clip
from tasks.store import Place, Store
from tasks.world import heldout
from tasks.world.scene import DOMAINS, Scene
from tests.fixtures.tiny_clip import write_tiny_clip

Edit = Callable[[Image.Image, random.Random], Image.Image]


def encoded(image: Image.Image, form: str = "PNG", **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    return Image.open(io.BytesIO(encoded(image, "JPEG", quality=quality))).convert("RGB")


def cropped(image: Image.Image, most: float, rng: random.Random) -> Image.Image:
    width, height = image.size
    left, top, right, bottom = (rng.uniform(0, most) for _ in range(4))
    box = (round(left * width), round(top * height), round(width * (1 - right)), round(height * (1 - bottom)))
    return image.crop(box)


EDITS: tuple[Edit, ...] = (
    lambda image, rng: as_jpeg(image, 30),
    lambda image, rng: as_jpeg(image, 85).resize((56, 56)),
    lambda image, rng: as_jpeg(image.resize((256, 256)), 80),
    lambda image, rng: image.resize((150, 112)),
    lambda image, rng: as_jpeg(cropped(image, 0.03, rng), 85),
    lambda image, rng: as_jpeg(cropped(image, 0.06, rng), 85).resize((100, 100)),
)


def items(count: int) -> list[BenchmarkItem]:
    return [
        BenchmarkItem(
            item.id, item.scene.domain, "?", "short_answer", "1", Picture(f"heldout/{item.id}", item.scene.png())
        )
        for item in heldout.items("heldout", count)
    ]


def other_pictures(count: int, seed: int) -> list[Picture]:
    """Pictures of the same world that are none of the benchmark's."""
    rng = random.Random(seed)
    scenes = [Scene(rng.choice(DOMAINS), rng.randint(1, 3), 10**7 + seed * 10**5 + k) for k in range(count)]
    return [Picture(f"web/{k:05d}", scene.png()) for k, scene in enumerate(scenes)]


def copies(originals: list[BenchmarkItem], seed: int) -> list[Picture]:
    rng = random.Random(seed)
    edited = [(item, EDITS[k % len(EDITS)](item.picture.image, rng)) for k, item in enumerate(originals)]
    return [Picture(f"copy/{item.picture.key}", encoded(image)) for item, image in edited]


def found_and_false(
    exam: list[BenchmarkItem], detector: CopyDetector, planted: int, others: int, seed: int
) -> tuple[int, int]:
    """Planted copies that were found for what they are, and other pictures that were taken for copies."""
    mine = copies(random.Random(seed).sample(exam, planted), seed)
    copies_found = list(find_copies([*other_pictures(others, seed), *mine], detector, ContaminationConfig()))
    right = sum(copy.key == f"copy/{copy.picture}" for copy in copies_found)
    return right, sum(copy.key.startswith("web/") for copy in copies_found)


def printed(exam: list[BenchmarkItem]) -> CopyDetector:
    return CopyDetector.of((item.picture.key, item.picture.image) for item in exam)


def test_planted_copies_are_found_and_few_others() -> None:
    exam = items(100)
    found, false = found_and_false(exam, printed(exam), planted=20, others=100, seed=1)
    assert found >= 19
    assert false <= 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_planted_copies_are_found_in_the_whole_micro_world() -> None:
    """The whole held-out benchmark, five plantings."""
    exam = items(624)
    detector = printed(exam)
    results = [found_and_false(exam, detector, planted=20, others=200, seed=seed) for seed in range(5)]
    found, false = (sum(column) for column in zip(*results, strict=True))
    print(f"\n{found} of 100 copies found, {false} false alarms among 1000 other pictures: {results}")
    assert found >= 95
    assert false <= 10


def test_contamination_names_pictures_and_items(tmp_path: Path) -> None:
    exam = items(8)
    folder = tmp_path / "web"
    folder.mkdir()
    for picture in other_pictures(6, seed=2):
        (folder / f"{picture.key[4:]}.png").write_bytes(picture.data)
    (folder / "copy.jpg").write_bytes(encoded(exam[3].picture.image, "JPEG", quality=60))
    config = RetrievalConfig(clip=Clip(model=f"local-dir:{write_tiny_clip(tmp_path / 'clip')}"))
    place = Place(Store(str(tmp_path / "store")), "corpora/test")
    build_corpus(place, FolderCorpus(path=str(folder)), config)
    copies_found = find_contamination(open_corpus(place), exam, ContaminationConfig())
    assert [(copy.key, copy.picture) for copy in copies_found] == [("web/copy.jpg", exam[3].picture.key)]
    assert contaminated_items(exam, copies_found) == {exam[3].id}
    similar = find_contamination(open_corpus(place), exam, ContaminationConfig(clip=1e-6))
    assert len(similar) > 1 and all((copy.cosine is None) != (copy.bits is None) for copy in similar)


def test_similar_pictures_have_their_own_keys_beside_masked_ones(tmp_path: Path) -> None:
    folder, pictures = tmp_path / "web", other_pictures(4, seed=2)
    folder.mkdir()
    for name, picture in zip("abcd", [pictures[0], *pictures[:3]], strict=True):  # b is a's duplicate
        (folder / f"{name}.png").write_bytes(picture.data)
    config = RetrievalConfig(clip=Clip(model=f"local-dir:{write_tiny_clip(tmp_path / 'clip')}"))
    place = Place(Store(str(tmp_path / "store")), "corpora/test")
    assert build_corpus(place, FolderCorpus(path=str(folder)), config).counters["duplicate"] == 1
    found = find_similar(open_corpus(place), pictures[:3], 0.0)
    best = {copy.picture: copy.key for copy in reversed(found)}  # sorted by cosine, the highest first
    assert best == {pictures[0].key: "web/a.png", pictures[1].key: "web/c.png", pictures[2].key: "web/d.png"}


def test_scores_are_split_by_contamination() -> None:
    def score(number: int, right: bool) -> Score:
        return Score(
            benchmark="b", id=str(number), domain="d", target="1", greedy="1", greedy_correct=right,
            samples=("1",), sample_accuracy=float(right), majority_correct=right,
        )  # fmt: skip

    split = split_scores([score(k, right=k < 3) for k in range(10)], frozenset({"0", "1", "2", "9"}))
    assert (split.everything.items, split.clean.items, split.contaminated.items) == (10, 6, 4)
    assert (split.everything.greedy, split.clean.greedy, split.contaminated.mean) == (0.3, 0.0, 0.75)
    assert split_scores([], frozenset()).clean.items == 0


def test_a_tint_changes_the_shade_and_not_the_residual() -> None:
    picture = np.asarray(Scene(DOMAINS[2], 1, 5).image().resize((64, 64)), float) / 255
    assert differences(picture, picture) == pytest.approx((0, 0), abs=1e-9)
    _, shade = differences(picture, np.clip(picture - [0, 0, 0.1], 0, 1))
    assert shade == pytest.approx(0.1, abs=0.02)


def test_a_hash_does_not_depend_on_the_encoding() -> None:
    image = Scene(DOMAINS[3], 2, 6).image()
    assert phash(image).tobytes() == phash(Image.open(io.BytesIO(encoded(image)))).tobytes()
    bits = np.unpackbits(phash(image) ^ phash(as_jpeg(image.resize((300, 200)), 70)))
    assert bits.sum() <= 8


@pytest.mark.parametrize("colour", ["white", "black", (10, 200, 30)])
def test_blank_pictures_do_no_harm(colour: str | tuple[int, int, int]) -> None:
    blank = Image.new("RGB", (40, 30), colour)
    detector = CopyDetector.of([("blank", blank), ("scene", Scene(DOMAINS[2], 1, 5).image())])
    assert detector.match(blank.resize((90, 90))) is not None
    assert detector.match(Image.new("RGB", (50, 50), "blue")) is None
    assert CopyDetector.of([]).match(blank) is None
