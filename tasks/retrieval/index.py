"""Search for the nearest vectors by inner product, exactly or through codes, without masked or repeated pictures.

The right kind of index depends on the corpus's size. `Auto` compares every vector while the vectors fit its memory
limit, scans codes of one bit a dimension above that limit, and scans only the nearest inverted lists where even the
codes are too many. Candidates from codes are re-ranked with the float16 vectors.

The quality of codes shows on *text* queries: texts lie apart from all pictures, so an index that is tuned on pictures'
own neighbours misses them. Code indexes are therefore tuned and measured on texts (`tuning.py`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from tasks.retrieval.codes import CodeIndex, Scheme
from tasks.retrieval.vectors import Vectors, device_for
from tasks.settings.base import Settings
from tasks.settings.fingerprint import NotFingerprinted

if TYPE_CHECKING:
    from tasks.retrieval.vectors import Flags, Floats, Numbers

MAX_CANDIDATES = 4096
"""Most candidates compared to find k distinct pictures."""
MIN_SERVED_SHARE = 1 / 20
"""Below this share of served vectors all of them are compared, also in a code index: codes would find too few."""
FEWEST_CODED = 39
"""Fewest vectors that are coded. FAISS trains no quantizer on fewer, and comparing them all costs nothing."""
GIB = 1 << 30


class Exact(Settings):
    """Compare every vector, streamed from the mapped float16 files. There is nothing to build, tune or miss."""

    kind: Literal["exact"] = "exact"
    device: Annotated[str, NotFingerprinted] = "auto"
    """`cpu`, `cuda`, ...; `auto` takes a GPU with memory for all vectors. The results are the same."""


class CodedIndexConfig(Settings):
    """Settings that all code indexes share."""

    target: float = Field(default=0.95, ge=0, le=1)
    """Lowest accepted recall@5 on texts that were not used for tuning. A build with lower recall fails."""
    rerank: int = Field(default=64, ge=1)
    """Most candidates re-ranked for each result; tuning takes as few as reach the target."""
    drift: float = Field(default=0.1, ge=0)
    """The quantizer is trained again when its error on added shards is larger by this share (0.1: a tenth)."""


class Scan(CodedIndexConfig):
    """Scan all codes of one bit a dimension: an eighth of a byte a dimension in memory."""

    kind: Literal["scan"] = "scan"
    codes: Scheme = "pq"
    """`pq` or `rabitq` (`codes.py`)."""

    def lists_for(self, vectors: int) -> int:
        """Always one list."""
        return 1


class IVF(CodedIndexConfig):
    """Keep RaBitQ codes in memory-mapped inverted lists and scan the lists nearest to the query."""

    kind: Literal["ivf"] = "ivf"
    codes: Literal["rabitq"] = "rabitq"
    lists: int | None = Field(default=None, ge=2)
    """Number of inverted lists; null takes 4 sqrt(n)."""

    def lists_for(self, vectors: int) -> int:
        """Number of lists for so many vectors: each list is trained on at least 39 vectors, FAISS's minimum."""
        return max(1, min(self.lists or round(4 * math.sqrt(vectors)), vectors // 39))


class Auto(Settings):
    """Choose the first kind that fits the corpus's size: exact, scanned codes, codes in inverted lists."""

    kind: Literal["auto"] = "auto"
    memory: float = Field(default=1.0, ge=0)
    """GiB of float16 vectors that a query may read; up to this size the index is exact."""
    gpu_memory: float = Field(default=0.0, ge=0)
    """GiB of vectors that a GPU may hold; up to this size the index is exact, on that GPU."""
    scanned: int = Field(default=5_000_000, ge=1)
    """Most codes that a query may scan; more codes are kept in inverted lists."""
    target: float = Field(default=0.95, ge=0, le=1)
    """Lowest accepted recall@5 on texts of a code index."""
    rerank: int = Field(default=64, ge=1)
    """Most candidates re-ranked for each result."""
    drift: float = Field(default=0.1, ge=0)
    """Growth of the quantizer's error on added shards above which it is trained again."""

    def chosen(self, vectors: int, dimensions: int) -> Exact | Scan | IVF:
        """The kind by size alone, so that every machine chooses the same."""
        if 2 * vectors * dimensions <= max(self.memory, self.gpu_memory) * GIB:
            return Exact()
        shared = {"target": self.target, "rerank": self.rerank, "drift": self.drift}
        return (Scan if vectors <= self.scanned else IVF).model_validate(shared)


IndexConfig = Annotated[Auto | Exact | Scan | IVF, Field(discriminator="kind")]
Chosen = Annotated[Exact | Scan | IVF, Field(discriminator="kind")]


def choose(config: IndexConfig, vectors: int, dimensions: int) -> Exact | Scan | IVF:
    """The kind of index for so many vectors: exact where they are too few to train codes on."""
    if vectors < FEWEST_CODED:
        return config if isinstance(config, Exact) else Exact()
    return config.chosen(vectors, dimensions) if isinstance(config, Auto) else config


class Index:
    """Searches a corpus's vectors. Every kind of index is one `Index` and differs in `codes` alone.

    Without codes every vector is compared. With codes (scanned whole, or in inverted lists) the codes propose
    candidates and may miss some of the best. The scores are exact in either case: inner products with the float16
    vectors. Queries are float32 [q, d] of unit length, as the vectors are.
    """

    def __init__(
        self,
        vectors: Vectors,
        served: Flags | None = None,
        codes: CodeIndex | None = None,
        groups: Numbers | None = None,
        device: str = "auto",
    ) -> None:
        """`served` [n] flags the vectors that may be found (None: all).

        Vectors with equal `groups` [n] belong to near-duplicate pictures.
        """
        self.vectors = vectors
        self.served = served
        self.codes = codes
        self.groups = groups
        self.device = device

    def __len__(self) -> int:
        """Number of vectors that can be found."""
        return len(self.vectors) if self.served is None else int(self.served.sum())

    def search(self, queries: Floats, k: int, only: Flags | None = None, depth: int = 0) -> tuple[Floats, Numbers]:
        """Scores and numbers [q, k] of the best vectors, best first; number -1 where there are no more.

        `only` [n] flags the vectors that pass a filter. `depth` candidates are re-ranked (0: as many as tuning chose
        for k).
        """
        import numpy as np

        served = self._allowed(only)
        depth = depth or (k * self.codes.parameters.rerank if self.codes else 0)
        if self.codes is None or (served is not None and served.mean() < MIN_SERVED_SHARE):
            return self.vectors.nearest(queries, k, served, device_for(self.device, self.vectors))
        candidates = self.codes.candidates(queries, _depth_before_masking(depth, served))
        scores = np.full((len(queries), k), -np.inf, np.float32)
        numbers = np.full((len(queries), k), -1, np.int64)
        for row, promising in enumerate(candidates):
            promising = promising[promising >= 0]
            promising = promising if served is None else promising[served[promising]]
            best_scores, best = self.vectors.ranked(queries[row], promising, k)
            scores[row, : len(best)], numbers[row, : len(best)] = best_scores, best
        return scores, numbers

    def search_distinct(
        self, queries: Floats, k: int, near: float, overfetch: int, only: Flags | None = None
    ) -> list[list[tuple[int, float]]]:
        """For each query up to k (number, score), best first: no two with a cosine above `near` or of one group.

        `k * overfetch` candidates are fetched at first, and four times as many again where duplicates take up places.
        Fewer than k results come back only where the nearest `MAX_CANDIDATES` vectors (or all that the index finds)
        hold no more.
        """
        results: list[list[tuple[int, float]]] = [[] for _ in queries]
        pending, fetch, limit = list(range(len(queries))), k * overfetch, min(MAX_CANDIDATES, len(self.vectors))
        while pending and limit:
            fetch = min(fetch, limit)
            depth = max(fetch, k * self.codes.parameters.rerank) if self.codes else 0
            scores, numbers = self.search(queries[pending], fetch, only, depth)
            for row, query in enumerate(pending):
                results[query] = self.distinct(scores[row], numbers[row], k, near)
            pending = [
                query
                for row, query in enumerate(pending)
                if len(results[query]) < k and fetch < limit and (numbers[row, -1] >= 0 or self.codes)
            ]
            fetch *= 4
        return results

    def _allowed(self, only: Flags | None) -> Flags | None:
        if only is None or self.served is None:
            return self.served if only is None else only
        return self.served & only

    def distinct(self, scores: Floats, numbers: Numbers, k: int, near: float) -> list[tuple[int, float]]:
        """Up to k (number, score): greedily from the best, without near-duplicates of one that is kept."""
        import numpy as np

        numbers = numbers[numbers >= 0]
        vectors = self.vectors.take(numbers).astype(np.float32)
        groups = numbers if self.groups is None else self.groups[numbers]
        alive = np.ones(len(numbers), bool)
        kept: list[tuple[int, float]] = []
        while alive.any() and len(kept) < k:
            best = int(alive.argmax())
            kept.append((int(numbers[best]), float(scores[best])))
            alive &= (vectors @ vectors[best] <= near) & (groups != groups[best])
            alive[best] = False
        return kept


def _depth_before_masking(depth: int, served: Flags | None) -> int:
    """Number of candidates of which about `depth` are served."""
    return depth if served is None else math.ceil(depth / max(float(served.mean()), MIN_SERVED_SHARE))
