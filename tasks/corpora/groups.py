"""Pictures that are nearly the same: sent on, re-encoded, resized.

Equal bytes are found by sha256 (`masks`). Of the others a perceptual hash finds the candidates, and their embeddings
decide: on drawings the hash alone takes one chart for another (of 635 pairs of the micro world with equal hashes half
have a cosine below 0.65). A group has a first picture, and all others are like that one: like neighbours are not
chained, so a group cannot drift.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]

MOST_BITS = 7
"""Two hashes within 7 bits agree in one quarter of 16 bits but for one bit, which is what is looked up."""
_AT_ONCE = 4096


def first_alike(hashes: Numbers, vectors: NDArray[np.float16], bits: int, cosine: float) -> Numbers:
    """For each picture the number of the first of its group: its own where it is like none before it.

    `hashes` are 64 bits each, `vectors` [n, d] of unit length. Alike: at most `bits` (up to 7) of the hash differ, and
    the cosine is above `cosine`.
    """
    import numpy as np

    first = np.arange(len(hashes))
    for later, earlier in _candidates(hashes, bits):
        alike = _cosines(vectors, later, earlier) > cosine
        for one, other in zip(later[alike].tolist(), earlier[alike].tolist(), strict=True):
            if first[one] == one and first[other] == other:
                first[one] = other
    return first


def _candidates(hashes: Numbers, bits: int) -> Iterator[tuple[Numbers, Numbers]]:
    """Pairs of numbers (later, earlier) whose hashes are near, ordered by the later, then by the earlier."""
    import faiss
    import numpy as np

    packed = np.ascontiguousarray(hashes, ">i8").view(np.uint8).reshape(-1, 8)
    index = faiss.IndexBinaryMultiHash(64, 4, 16)
    index.nflip = 1
    index.add(packed)
    for start in range(0, len(packed), _AT_ONCE):
        limits, _, near = index.range_search(packed[start : start + _AT_ONCE], bits + 1)  # FAISS: less than
        later = start + np.repeat(np.arange(len(limits) - 1), np.diff(limits.astype(np.int64)))
        before = near < later
        order = np.lexsort((near[before], later[before]))
        yield later[before][order], near[before][order]


def _cosines(vectors: NDArray[np.float16], one: Numbers, other: Numbers) -> NDArray[np.float32]:
    import numpy as np

    found = np.empty(len(one), np.float32)
    for start in range(0, len(one), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        found[part] = (vectors[one[part]].astype(np.float32) * vectors[other[part]].astype(np.float32)).sum(axis=1)
    return found
