"""Nearest vectors by inner product, exactly or by codes, masked and without copies.

Which index is right is a question of size: `Auto` compares every vector while they fit the memory that it is given,
scans codes of one bit a dimension above that, and looks into the nearest lists only where even the codes are
too many. What codes find is re-ranked with the float16 vectors.

How good codes are shows on *text* queries: they lie apart from all pictures, where an index tuned on pictures' own
neighbours misses. So they are tuned and measured on texts (`tuning.py`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from tasks.retrieval.codes import Codes, Scheme
from tasks.retrieval.vectors import Vectors, device_for
from tasks.settings.base import Settings
from tasks.settings.fingerprint import NotFingerprinted

if TYPE_CHECKING:
    from tasks.retrieval.vectors import Flags, Floats, Numbers

FURTHEST = 4096
"""Candidates looked at, at most, to find k distinct ones."""
FEW = 1 / 20
"""Share of served vectors below which all of them are compared, whatever the index: codes would find too few."""
GIB = 1 << 30


class Exact(Settings):
    """Every vector is compared, streamed from the mapped float16 files: nothing to build, tune or miss."""

    kind: Literal["exact"] = "exact"
    device: Annotated[str, NotFingerprinted] = "auto"
    """`cpu`, `cuda`, ...; `auto` takes a GPU that has room for the vectors. The results are the same."""


class Coded(Settings):
    """What all indexes of codes have."""

    target: float = Field(default=0.95, ge=0, le=1)
    """Least recall@5 on texts that nothing was tuned on. A build that reaches less fails."""
    rerank: int = Field(default=64, ge=1)
    """Candidates re-ranked for each result, at most; tuning takes as few as reach the target."""
    drift: float = Field(default=0.1, ge=0)
    """Codes are trained again when those of added shards err by so much more (0.1: a tenth) than those of the first."""


class Scan(Coded):
    """Codes of one bit a dimension, all of them scanned: an eighth of a byte a dimension in memory."""

    kind: Literal["scan"] = "scan"
    codes: Scheme = "pq"
    """`pq` or `rabitq` (`codes.py`)."""

    def lists_for(self, vectors: int) -> int:
        """One: all is scanned."""
        return 1


class IVF(Coded):
    """RaBitQ codes in lists, of which those nearest to the query are scanned; memory-mapped."""

    kind: Literal["ivf"] = "ivf"
    codes: Literal["rabitq"] = "rabitq"
    lists: int | None = Field(default=None, ge=2)
    """Clusters; null takes 4 sqrt(n)."""

    def lists_for(self, vectors: int) -> int:
        """So many that each can be trained on 39 vectors, FAISS's least."""
        return max(1, min(self.lists or round(4 * math.sqrt(vectors)), vectors // 39))


class Auto(Settings):
    """The first that fits: exact, codes that are all scanned, codes in lists."""

    kind: Literal["auto"] = "auto"
    memory: float = Field(default=1.0, ge=0)
    """GiB of float16 vectors that a query may read: up to it the index is exact."""
    gpu_memory: float = Field(default=0.0, ge=0)
    """GiB of vectors that a GPU may hold: up to it the index is exact, on that GPU."""
    scanned: int = Field(default=5_000_000, ge=1)
    """Codes that a query may scan; above it they are kept in lists."""
    target: float = Field(default=0.95, ge=0, le=1)
    """Least recall@5 on texts of an index that is not exact."""
    rerank: int = Field(default=64, ge=1)
    """Candidates re-ranked for each result, at most."""
    drift: float = Field(default=0.1, ge=0)
    """Growth of the codes' error that has them trained again."""

    def chosen(self, vectors: int, dimensions: int) -> Exact | Scan | IVF:
        """By the numbers alone, so that every machine chooses the same."""
        if 2 * vectors * dimensions <= max(self.memory, self.gpu_memory) * GIB:
            return Exact()
        shared = {"target": self.target, "rerank": self.rerank, "drift": self.drift}
        return (Scan if vectors <= self.scanned else IVF).model_validate(shared)


IndexConfig = Annotated[Auto | Exact | Scan | IVF, Field(discriminator="kind")]
Chosen = Annotated[Exact | Scan | IVF, Field(discriminator="kind")]


def choose(config: IndexConfig, vectors: int, dimensions: int) -> Exact | Scan | IVF:
    """The index for so many vectors."""
    return config.chosen(vectors, dimensions) if isinstance(config, Auto) else config


class Index:
    """Vectors that can be searched: all of them, or through codes. Queries are of unit length, as vectors are."""

    def __init__(
        self,
        vectors: Vectors,
        served: Flags | None = None,
        codes: Codes | None = None,
        groups: Numbers | None = None,
        device: str = "auto",
    ) -> None:
        """`served` [n] says which vectors may be found (None: all), `groups` [n] which are nearly the same picture."""
        self.vectors = vectors
        self.served = served
        self.codes = codes
        self.groups = groups
        self.device = device

    def __len__(self) -> int:
        """Vectors that can be found."""
        return len(self.vectors) if self.served is None else int(self.served.sum())

    def search(self, queries: Floats, k: int, only: Flags | None = None, depth: int = 0) -> tuple[Floats, Numbers]:
        """Scores and numbers [q, k] of the best vectors (those `only`), best first; number -1 where there are no more.

        Scores are exact in either case. Through codes, some of the best may be missing; `depth` candidates are
        re-ranked (0: as many as tuning chose for k).
        """
        import numpy as np

        served = self._allowed(only)
        depth = depth or (k * self.codes.setting.rerank if self.codes else 0)
        if self.codes is None or (served is not None and served.mean() < FEW):
            return self.vectors.nearest(queries, k, served, device_for(self.device, self.vectors))
        found = self.codes.candidates(queries, _deeper(depth, served))
        scores = np.full((len(queries), k), -np.inf, np.float32)
        numbers = np.full((len(queries), k), -1, np.int64)
        for row, promising in enumerate(found):
            promising = promising[promising >= 0]
            promising = promising if served is None else promising[served[promising]]
            best, which = self.vectors.ranked(queries[row], promising, k)
            scores[row, : len(best)], numbers[row, : len(best)] = best, which
        return scores, numbers

    def search_distinct(
        self, queries: Floats, k: int, near: float, overfetch: int, only: Flags | None = None
    ) -> list[list[tuple[int, float]]]:
        """For each query up to k (number, score), best first: no two with a cosine above `near`, or of one group.

        Fewer than k only where the nearest `FURTHEST` vectors (or all that the index finds) hold no more.
        """
        found: list[list[tuple[int, float]]] = [[] for _ in queries]
        pending, fetch, furthest = list(range(len(queries))), k * overfetch, min(FURTHEST, len(self.vectors))
        while pending and furthest:
            fetch = min(fetch, furthest)
            depth = max(fetch, k * self.codes.setting.rerank) if self.codes else 0
            scores, numbers = self.search(queries[pending], fetch, only, depth)
            for row, query in enumerate(pending):
                found[query] = self.distinct(scores[row], numbers[row], k, near)
            pending = [
                query
                for row, query in enumerate(pending)
                if len(found[query]) < k and fetch < furthest and (numbers[row, -1] >= 0 or self.codes)
            ]
            fetch *= 4
        return found

    def _allowed(self, only: Flags | None) -> Flags | None:
        if only is None or self.served is None:
            return self.served if only is None else only
        return self.served & only

    def distinct(self, scores: Floats, numbers: Numbers, k: int, near: float) -> list[tuple[int, float]]:
        """Greedy, from the best: each is kept unless it is too near to one already kept."""
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


def _deeper(depth: int, served: Flags | None) -> int:
    """More candidates where some of them may not be served."""
    return depth if served is None else math.ceil(depth / max(float(served.mean()), FEW))
