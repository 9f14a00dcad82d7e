"""Near-duplicates in a corpus: one picture re-encoded, resized or passed on.

Equal bytes are found by sha256 (`masks.py`). For the rest a perceptual hash finds candidates and the embeddings decide:
for drawings the hash alone confuses charts (of 635 pairs of the micro world with equal hashes half have a cosine below
0.65). Every picture of a group is compared with the group's first picture: near-duplicates are not chained, so a group
cannot drift.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]

MAX_BITS = 7
"""Largest Hamming distance that the index finds. Of two hashes within 7 bits, one quarter of 16 bits differs in at most
one bit, and the index looks up quarters with at most one flipped bit."""
_BATCH = 4096


def group_firsts(hashes: Numbers, vectors: NDArray[np.float16], bits: int, cosine: float) -> Numbers:
    """For each of n pictures the number of its group's first picture: its own number if no earlier picture is alike.

    `hashes` [n] are 64 bits each, `vectors` [n, d] have unit length. Two pictures are alike if their hashes differ in
    at most `bits` (up to 7) bits and the cosine of their vectors is above `cosine`.
    """
    import numpy as np

    first = np.arange(len(hashes))
    for later, earlier in _candidates(hashes, bits):
        alike = _cosines(vectors, later, earlier) > cosine
        for number, candidate in zip(later[alike].tolist(), earlier[alike].tolist(), strict=True):
            if first[number] == number and first[candidate] == candidate:
                first[number] = candidate
    return first


def _candidates(hashes: Numbers, bits: int) -> Iterator[tuple[Numbers, Numbers]]:
    """Pairs (later, earlier) of picture numbers with near hashes, ordered by the later, then by the earlier number."""
    import faiss
    import numpy as np

    packed = np.ascontiguousarray(hashes, ">i8").view(np.uint8).reshape(-1, 8)
    index = faiss.IndexBinaryMultiHash(64, 4, 16)
    index.nflip = 1
    index.add(packed)
    for start in range(0, len(packed), _BATCH):
        limits, _, near = index.range_search(packed[start : start + _BATCH], bits + 1)  # FAISS: less than
        later = start + np.repeat(np.arange(len(limits) - 1), np.diff(limits.astype(np.int64)))
        before = near < later
        order = np.lexsort((near[before], later[before]))
        yield later[before][order], near[before][order]


def _cosines(vectors: NDArray[np.float16], left: Numbers, right: Numbers) -> NDArray[np.float32]:
    import numpy as np

    cosines = np.empty(len(left), np.float32)
    for start in range(0, len(left), _BATCH):
        part = slice(start, start + _BATCH)
        cosines[part] = (vectors[left[part]].astype(np.float32) * vectors[right[part]].astype(np.float32)).sum(axis=1)
    return cosines
