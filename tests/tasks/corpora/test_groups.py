"""Nearly the same picture: whatever was done to its bytes, and no other."""

from __future__ import annotations

import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_images

from tasks.corpora.decode import Limits, Raw, examine
from tasks.corpora.groups import MOST_BITS, first_alike
from tasks.corpora.sample import Sample


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def phash(data: bytes) -> int:
    hashed = examine(Raw(Sample(key="0/0", shard="0"), data), Limits()).sample.phash
    assert hashed is not None
    return hashed


def apart(one: int, other: int) -> int:
    return ((one ^ other) & (2**64 - 1)).bit_count()


def test_copies_of_a_photograph_have_near_hashes_and_other_parts_of_it_have_not() -> None:
    for pixels in load_sample_images().images:
        photograph = Image.fromarray(pixels)
        original = phash(encoded(photograph))
        for copy in (
            encoded(photograph, "JPEG", quality=30),
            encoded(photograph.resize((320, 213)), "WEBP", quality=60),
            encoded(photograph.convert("L")),
            encoded(photograph.point(lambda value: value * 0.8 + 20)),
        ):
            assert apart(original, phash(copy)) <= MOST_BITS
        width, height = photograph.size
        assert apart(original, phash(encoded(photograph.crop((width // 2, 0, width, height))))) > 12
        assert apart(original, phash(encoded(photograph.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))) > 12


def test_a_group_needs_hash_and_embedding_and_has_one_first_picture() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1], [1, 0]], np.float16)
    hashes = np.array([0, 0b111, 0b1, 0xFFFF], np.int64)
    assert first_alike(hashes, vectors, 3, 0.9).tolist() == [0, 0, 2, 3]
    assert first_alike(hashes, vectors, 2, 0.9).tolist() == [0, 1, 2, 3]


def test_alike_pictures_are_not_chained() -> None:
    angles = np.radians([0, 10, 20, 30])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float16)
    assert first_alike(np.zeros(4, np.int64), vectors, 0, np.cos(np.radians(15))).tolist() == [0, 0, 2, 2]


@given(st.lists(st.integers(0, 63), max_size=MOST_BITS, unique=True), st.integers(-(2**63), 2**63 - 1))
def test_no_hash_within_the_bits_is_missed(flipped: list[int], one: int) -> None:
    other = one
    for bit in flipped:
        other ^= -(2**63) if bit == 63 else 1 << bit
    vectors = np.ones((2, 1), np.float16)
    assert first_alike(np.array([one, other], np.int64), vectors, len(flipped), 0.5).tolist() == [0, 0]


def test_a_corpus_without_pictures_has_no_groups() -> None:
    assert first_alike(np.empty(0, np.int64), np.empty((0, 4), np.float16), 6, 0.9).tolist() == []
