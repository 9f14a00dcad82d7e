"""Near-duplicates: re-encoded and resized copies form a group, other pictures do not."""

from __future__ import annotations

import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_images

from tasks.corpora.decode import EncodedSample, Limits, decode_sample
from tasks.corpora.near_duplicates import MAX_BITS, group_firsts
from tasks.corpora.sample import Sample


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def phash(data: bytes) -> int:
    hashed = decode_sample(EncodedSample(Sample(key="0/0", shard="0"), data), Limits()).sample.phash
    assert hashed is not None
    return hashed


def hamming(left: int, right: int) -> int:
    return ((left ^ right) & (2**64 - 1)).bit_count()


def test_only_copies_of_a_photograph_have_near_hashes() -> None:
    for pixels in load_sample_images().images:
        photograph = Image.fromarray(pixels)
        original = phash(encoded(photograph))
        for copy in (
            encoded(photograph, "JPEG", quality=30),
            encoded(photograph.resize((320, 213)), "WEBP", quality=60),
            encoded(photograph.convert("L")),
            encoded(photograph.point(lambda value: value * 0.8 + 20)),
        ):
            assert hamming(original, phash(copy)) <= MAX_BITS
        width, height = photograph.size
        assert hamming(original, phash(encoded(photograph.crop((width // 2, 0, width, height))))) > 12
        assert hamming(original, phash(encoded(photograph.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))) > 12


def test_a_group_needs_near_hashes_and_near_embeddings() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1], [1, 0]], np.float16)
    hashes = np.array([0, 0b111, 0b1, 0xFFFF], np.int64)
    assert group_firsts(hashes, vectors, 3, 0.9).tolist() == [0, 0, 2, 3]
    assert group_firsts(hashes, vectors, 2, 0.9).tolist() == [0, 1, 2, 3]


def test_alike_pictures_are_not_chained() -> None:
    angles = np.radians([0, 10, 20, 30])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float16)
    assert group_firsts(np.zeros(4, np.int64), vectors, 0, np.cos(np.radians(15))).tolist() == [0, 0, 2, 2]


@given(st.lists(st.integers(0, 63), max_size=MAX_BITS, unique=True), st.integers(-(2**63), 2**63 - 1))
def test_no_hash_within_the_bits_is_missed(flipped: list[int], original: int) -> None:
    changed = original
    for bit in flipped:
        changed ^= -(2**63) if bit == 63 else 1 << bit
    vectors = np.ones((2, 1), np.float16)
    assert group_firsts(np.array([original, changed], np.int64), vectors, len(flipped), 0.5).tolist() == [0, 0]


def test_a_corpus_without_pictures_has_no_groups() -> None:
    assert group_firsts(np.empty(0, np.int64), np.empty((0, 4), np.float16), 6, 0.9).tolist() == []
