"""Nearest vectors by inner product, by FAISS.

Vectors are float16, as the embeddings are stored, so `Exact` answers exactly what a scan of the embeddings would. `IVF`
looks into the nearest lists only, over 1-bit codes (RaBitQ), and re-ranks with float16. Both hold the float16 vectors,
memory-mapped when opened, so a vector can be had back by its number.

How good an index is shows on *text* queries: they lie apart from all pictures, where lists tuned on pictures' own
neighbours miss (recall 1.00 on pictures went with 0.70 on texts). So recall is measured with the corpus's captions.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Numbers = NDArray[np.int64]

FURTHEST = 4096
"""Candidates looked at, at most, to find k distinct ones."""


class Exact(BaseModel):
    """Every vector is compared: right for up to some hundred thousand."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["exact"] = "exact"

    def build(self, vectors: NDArray[np.float16]) -> Index:
        """An index of float16 [n, d]; vector i has the number i."""
        return _filled("SQfp16", vectors)


class IVF(BaseModel):
    """Only the lists nearest to the query are searched, by 1-bit codes, and the best re-ranked with float16."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["ivf"] = "ivf"
    lists: int | None = Field(default=None, ge=1)
    """Clusters; None takes 4 sqrt(n)."""
    probes: int = Field(default=64, ge=1)
    """Lists that a query looks into. Text queries need many more than pictures do: 16 gave recall 0.89, 64 0.99."""
    rerank: int = Field(default=10, ge=1)
    """Candidates re-ranked for each result."""

    def build(self, vectors: NDArray[np.float16]) -> Index:
        """An index of float16 [n, d]; vector i has the number i. Trained on these vectors."""
        import faiss

        lists = min(self.lists or round(4 * math.sqrt(len(vectors))), max(1, len(vectors) // 39))  # FAISS's least
        index = _filled(f"IVF{lists},RaBitQfs,Refine(SQfp16)", vectors)
        index.faiss.k_factor = self.rerank
        faiss.extract_index_ivf(index.faiss).nprobe = min(self.probes, lists)
        return index


IndexConfig = Annotated[Exact | IVF, Field(discriminator="kind")]


class Index:
    """A built index. Queries and vectors are of unit length."""

    def __init__(self, index: Any) -> None:
        self.faiss = index

    @classmethod
    def open(cls, path: Path) -> Index:
        """The index in a file, memory-mapped: it is read as it is searched."""
        import faiss

        return cls(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC))

    def save(self, path: Path) -> None:
        """Write the file that `open` reads."""
        import faiss

        faiss.write_index(self.faiss, str(path))

    def __len__(self) -> int:
        return int(self.faiss.ntotal)

    def search(self, queries: Floats, k: int) -> tuple[Floats, Numbers]:
        """Scores and numbers [q, min(k, n)] of the nearest vectors, best first; number -1 where no more were found."""
        return self.faiss.search(queries, min(k, len(self)))  # type: ignore[no-any-return]

    def vectors(self, numbers: Numbers) -> Floats:
        """float32 [n, d], exactly the float16 values that were indexed."""
        import faiss

        plain = self.faiss.refine_index if isinstance(self.faiss, faiss.IndexRefine) else self.faiss
        return plain.reconstruct_batch(numbers)

    def search_distinct(self, queries: Floats, k: int, near: float, overfetch: int) -> list[list[tuple[int, float]]]:
        """For each query up to k (number, score), best first, of which no two have a cosine above `near`.

        Fewer than k only where the nearest `FURTHEST` vectors (or all that the index finds) hold no more.
        """
        found: list[list[tuple[int, float]]] = [[] for _ in queries]
        pending, fetch = list(range(len(queries))), k * overfetch
        while pending and len(self):
            scores, numbers = self.search(queries[pending], fetch)
            exhausted = min(fetch, FURTHEST) >= min(len(self), FURTHEST)
            for row, query in enumerate(pending):
                found[query] = self._distinct(scores[row], numbers[row], k, near)
            pending = [
                query
                for row, query in enumerate(pending)
                if len(found[query]) < k and not exhausted and numbers[row, -1] >= 0
            ]
            fetch = min(fetch * 4, FURTHEST)
        return found

    def _distinct(self, scores: Floats, numbers: Numbers, k: int, near: float) -> list[tuple[int, float]]:
        """Greedy, from the best: each is kept unless it is too near to one already kept."""
        import numpy as np

        numbers = numbers[numbers >= 0]
        vectors = self.vectors(numbers)
        alive = np.ones(len(numbers), bool)
        kept: list[tuple[int, float]] = []
        while alive.any() and len(kept) < k:
            best = int(alive.argmax())
            kept.append((int(numbers[best]), float(scores[best])))
            alive &= vectors @ vectors[best] <= near
            alive[best] = False
        return kept


def recall(index: Index, queries: Floats, k: int) -> float:
    """Mean share of a query's k truly nearest vectors that the index finds, 0..1. Equal scores count as equal."""
    import numpy as np

    k = min(k, len(index))
    if not k or not len(queries):
        return 1.0
    truth = _exact_scores(index, queries, k)
    scores, _ = index.search(queries, k)
    # The k-th best true score is the bar; 1e-3 is float16's rounding of a cosine, done by both sides the same way.
    return float(np.mean(scores >= truth[:, -1:] - 1e-5))


def _exact_scores(index: Index, queries: Floats, k: int) -> Floats:
    """The k best inner products [q, k] of a scan over all vectors, best first."""
    import numpy as np

    best = np.full((len(queries), k), -np.inf, np.float32)
    for start in range(0, len(index), 1 << 16):
        numbers = np.arange(start, min(start + (1 << 16), len(index)))
        both = np.concatenate([best, queries @ index.vectors(numbers).T], axis=1)
        best = -np.sort(np.partition(-both, k - 1, axis=1)[:, :k], axis=1)
    return best


def _filled(factory: str, vectors: NDArray[np.float16]) -> Index:
    import faiss
    import numpy as np

    index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors.astype(np.float32))
    for start in range(0, len(vectors), 1 << 16):
        index.add(vectors[start : start + (1 << 16)].astype(np.float32))
    return Index(index)
