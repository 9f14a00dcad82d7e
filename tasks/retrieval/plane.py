"""The plane in which a corpus's pictures lie apart most: where a map draws them.

It depends on the corpus alone, so that a picture has the same place on the maps of all rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.retrieval.searchable_corpus import SearchableCorpus

SAMPLE = 20_000
"""Pictures, evenly spread over the index, whose vectors decide on the plane."""


def places_in_plane(corpus: SearchableCorpus, keys: Sequence[str]) -> dict[str, tuple[float, float]]:
    """The first two principal components of each picture's vector, by key. UserError for a key that cannot be found."""
    import numpy as np

    if not keys:
        return {}
    vectors = corpus.index.vectors
    numbers = np.linspace(0, len(vectors) - 1, min(len(vectors), SAMPLE)).astype(np.int64)
    sample = vectors.take(numbers).astype(np.float64)
    centre = sample.mean(axis=0)
    _, directions = np.linalg.eigh(np.cov((sample - centre).T))  # ascending variance
    axes = directions[:, [-1, -2]]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])  # else a library's choice of sign turns the map
    placed = (corpus.embeddings(keys) - centre) @ axes
    return {key: (float(x), float(y)) for key, (x, y) in zip(keys, placed, strict=True)}
