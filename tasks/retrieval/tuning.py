"""Choose a code index's search parameters and measure its recall on text queries, against an exact search.

Different texts serve for tuning and for measuring. Parameters are compared by the bytes that a query reads, not by a
clock, so the same input gives the same parameters on every machine. Latency is measured and reported only.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.retrieval.codes import CodeIndex, SearchParameters
from tasks.retrieval.index import Index
from tasks.settings.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tasks.retrieval.vectors import Floats

TOP_K = 5
"""Recall is measured at 5 results, as many as a Searcher's query retrieves."""
CONFIDENCE = 2.0
"""Standard errors by which recall on the tuning texts must exceed the target."""
ROUNDING = 1e-5
RANDOM_READ_COST = 8
"""Cost of a byte of a vector read at a random offset, in bytes of codes read sequentially."""
TRAINING_TEXTS = 4096
"""Most texts that the change of axes is fitted to."""
_TIMED_QUERIES = 20


class RecallBelowTarget(UserError):
    """The index's measured recall is lower than its target."""


@dataclass(frozen=True)
class RecallEstimate:
    """The recall of one index on one kind of queries."""

    recall: float
    """Mean share of the exact nearest vectors that the index finds, 0..1."""
    standard_error: float
    queries: int


@dataclass(frozen=True)
class TextSplit:
    """Different texts in three parts: for training, tuning and measuring. A text is always in the same part."""

    train: tuple[str, ...]
    tune: tuple[str, ...]
    measure: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[str], limit: int) -> TextSplit:
        """Split by checksum: half for training, a quarter each for tuning and measuring (at most `limit` each)."""
        quarters: list[list[str]] = [[], [], [], []]
        for text in dict.fromkeys(texts):
            quarters[zlib.crc32(text.encode()) % 4].append(text)
        training = quarters[0] + quarters[1]
        return cls(
            _evenly_sampled(training, TRAINING_TEXTS),
            _evenly_sampled(quarters[2], limit),
            _evenly_sampled(quarters[3], limit),
        )


def _evenly_sampled(texts: Sequence[str], limit: int) -> tuple[str, ...]:
    return tuple(texts[:: math.ceil(len(texts) / limit) or 1])


def measure_recall(index: Index, queries: Floats, k: int = TOP_K) -> RecallEstimate:
    """Recall@k against an exact search; equal scores count as equal. An index without codes has recall 1."""
    import numpy as np

    k = min(k, len(index))
    if not k or not len(queries) or index.codes is None:
        return RecallEstimate(1.0, 0.0, len(queries))
    scores, _ = index.search(queries, k)
    return _estimate((scores >= _threshold(index, queries, k)).mean(axis=1).astype(np.float64))


def tune(index: Index, queries: Floats, target: float, max_rerank: int) -> SearchParameters:
    """The cheapest parameters whose recall exceeds the target by `CONFIDENCE` standard errors.

    Where none do, or where there are no queries: all lists, and `max_rerank` candidates re-ranked for each result.
    """
    codes = index.codes
    if codes is None:
        raise ValueError("an index without codes has no search parameters")
    widest = SearchParameters(probes=codes.lists, rerank=max_rerank)
    if not len(queries):
        return widest
    tried: dict[SearchParameters, RecallEstimate] = {}
    for probes in _ladder(codes.lists):
        deepest = SearchParameters(probes=probes, rerank=max_rerank)
        tried |= _recall_by_rerank(index, codes, queries, deepest)
        if _exceeds(tried[deepest], target):
            break
    good = [parameters for parameters, estimate in tried.items() if _exceeds(estimate, target)]
    return min(good, key=lambda parameters: _bytes_read(index, codes, parameters), default=widest)


def median_latency(index: Index, queries: Floats, k: int = TOP_K) -> float:
    """Median time of a query that is searched alone, in seconds."""
    import numpy as np

    seconds = []
    for query in queries[:_TIMED_QUERIES]:
        start = time.perf_counter()
        index.search(query[None], k)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds)) if seconds else 0.0


def _exceeds(estimate: RecallEstimate, target: float) -> bool:
    return estimate.recall - CONFIDENCE * estimate.standard_error >= target


def _recall_by_rerank(
    index: Index, codes: CodeIndex, queries: Floats, deepest: SearchParameters
) -> dict[SearchParameters, RecallEstimate]:
    """Recall@5 for each number of re-ranked candidates up to `deepest.rerank`, all from one search."""
    import numpy as np

    k = min(TOP_K, len(index))
    threshold = _threshold(index, queries, k)
    candidates = codes.with_parameters(deepest).candidates(queries, TOP_K * deepest.rerank)
    hits = np.zeros(candidates.shape, bool)
    for row, numbers in enumerate(candidates):
        usable = numbers >= 0
        if index.served is not None:
            usable &= index.served[numbers]
        hits[row, usable] = index.vectors.score(queries[row], numbers[usable]) >= threshold[row]
    shares = np.minimum(np.cumsum(hits, axis=1), k) / k
    last = candidates.shape[1]
    return {
        SearchParameters(probes=deepest.probes, rerank=rerank): _estimate(shares[:, min(TOP_K * rerank, last) - 1])
        for rerank in _ladder(deepest.rerank)
    }


def _threshold(index: Index, queries: Floats, k: int) -> Floats:
    """The exact k-th best score less a rounding error, [q, 1]."""
    exact, _ = index.vectors.nearest(queries, k, index.served)
    return exact[:, -1:] - ROUNDING


def _estimate(shares: NDArray[np.float64]) -> RecallEstimate:
    import numpy as np

    return RecallEstimate(float(shares.mean()), float(np.std(shares) / math.sqrt(len(shares))), len(shares))


def _ladder(largest: int) -> Sequence[int]:
    """1, 2, 3, 4, 6, 8, 12, ... and `largest`."""
    steps = {step for power in range(largest.bit_length()) for step in (1 << power, 3 << power >> 1)}
    return sorted({step for step in steps if step <= largest} | {largest})


def _bytes_read(index: Index, codes: CodeIndex, parameters: SearchParameters) -> float:
    """Bytes of centroids and codes read sequentially, plus the weighted bytes of vectors read at random offsets."""
    size = index.vectors.dimensions
    scanned = len(codes) * parameters.probes / codes.lists
    reranked = TOP_K * parameters.rerank * 2 * size
    return 4 * size * codes.lists + scanned * (size / 8 + 8) + RANDOM_READ_COST * reranked
