"""How far a query must look so that what it finds is right, and how often it is: on texts, against a scan of all.

Texts that tune do not measure. A setting is chosen by what it reads, not by a clock, so that the same
input gives the same setting on every machine; latency is measured and told.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.retrieval.codes import Codes, Setting
from tasks.retrieval.index import Index
from tasks.settings.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tasks.retrieval.vectors import Floats

AT = 5
"""recall@5: as many as the Searcher's query retrieves."""
SPREAD = 2.0
"""Standard errors by which recall on the texts that tune must exceed the target."""
ROUNDING = 1e-5
RANDOM_READ = 8
"""What a byte of a vector read somewhere costs, in bytes of codes read in a row."""
TRAINING = 4096
"""Texts that the change of axes is fitted to."""
_TIMED = 20


class RecallMissed(UserError):
    """The index finds less than it was asked to."""


@dataclass(frozen=True)
class Measured:
    """One kind of queries against one index."""

    recall: float
    """Mean share of the truly nearest that is found, 0..1."""
    error: float
    """Standard error of `recall`."""
    queries: int


@dataclass(frozen=True)
class Texts:
    """Different texts in three parts: to train on, to tune on, to measure on. A text is always in the same one."""

    train: tuple[str, ...]
    tune: tuple[str, ...]
    measure: tuple[str, ...]

    @classmethod
    def divided(cls, texts: Iterable[str], most: int) -> Texts:
        """By the texts' checksums: two quarters to train on, one each to tune and to measure on (at most `most`)."""
        parts: list[list[str]] = [[], [], [], []]
        for text in dict.fromkeys(texts):
            parts[zlib.crc32(text.encode()) % 4].append(text)
        return cls(_spread(parts[0] + parts[1], TRAINING), _spread(parts[2], most), _spread(parts[3], most))


def _spread(texts: Sequence[str], most: int) -> tuple[str, ...]:
    return tuple(texts[:: math.ceil(len(texts) / most) or 1])


def measure(index: Index, queries: Floats, k: int = AT) -> Measured:
    """Recall@k. Equal scores count as equal. An index that compares every vector misses none."""
    import numpy as np

    k = min(k, len(index))
    if not k or not len(queries) or index.codes is None:
        return Measured(1.0, 0.0, len(queries))
    scores, _ = index.search(queries, k)
    return _measured((scores >= _bar(index, queries, k)).mean(axis=1).astype(np.float64))


def tune(index: Index, queries: Floats, target: float, most: int) -> Setting:
    """The setting that reads least among those that surely reach the target, else the one that reads most.

    At most `most` candidates are re-ranked for each result.
    """
    codes = index.codes
    if codes is None:
        raise ValueError("an exact index has no setting")
    widest = Setting(probes=codes.lists, rerank=most)
    if not len(queries):
        return widest
    tried: dict[Setting, Measured] = {}
    for probes in _ladder(codes.lists):
        tried |= _by_depth(index, codes, queries, Setting(probes=probes, rerank=most))
        if _surely(tried[Setting(probes=probes, rerank=most)], target):
            break
    good = [setting for setting, found in tried.items() if _surely(found, target)]
    return min(good, key=lambda setting: _bytes_read(index, codes, setting), default=widest)


def latency(index: Index, queries: Floats, k: int = AT) -> float:
    """Median seconds of one query, asked alone."""
    import numpy as np

    taken = []
    for query in queries[:_TIMED]:
        start = time.perf_counter()
        index.search(query[None], k)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken)) if taken else 0.0


def _surely(found: Measured, target: float) -> bool:
    return found.recall - SPREAD * found.error >= target


def _by_depth(index: Index, codes: Codes, queries: Floats, widest: Setting) -> dict[Setting, Measured]:
    """Recall@5 by how many candidates are re-ranked, of one search that is as deep as any."""
    import numpy as np

    k = min(AT, len(index))
    bar = _bar(index, queries, k)
    found = codes.with_setting(widest).candidates(queries, AT * widest.rerank)
    hits = np.zeros(found.shape, bool)
    for row, numbers in enumerate(found):
        usable = numbers >= 0
        if index.served is not None:
            usable &= index.served[numbers]
        hits[row, usable] = index.vectors.score(queries[row], numbers[usable]) >= bar[row]
    shares = np.minimum(np.cumsum(hits, axis=1), k) / k
    depths = _ladder(widest.rerank)
    return {
        Setting(probes=widest.probes, rerank=depth): _measured(shares[:, min(AT * depth, found.shape[1]) - 1])
        for depth in depths
    }


def _bar(index: Index, queries: Floats, k: int) -> Floats:
    """[q, 1]: the k-th best true score, less what rounding may do."""
    truth, _ = index.vectors.nearest(queries, k, index.served)
    return truth[:, -1:] - ROUNDING


def _measured(shares: NDArray[np.float64]) -> Measured:
    import numpy as np

    return Measured(float(shares.mean()), float(np.std(shares) / math.sqrt(len(shares))), len(shares))


def _ladder(most: int) -> Sequence[int]:
    """1, 2, 3, 4, 6, 8, 12, ... and `most`."""
    steps = {step for power in range(most.bit_length()) for step in (1 << power, 3 << power >> 1)}
    return sorted({step for step in steps if step <= most} | {most})


def _bytes_read(index: Index, codes: Codes, setting: Setting) -> float:
    """Bytes of centres and codes read in a row, and of vectors read here and there."""
    size = index.vectors.dimensions
    scanned = len(codes) * setting.probes / codes.lists
    return 4 * size * codes.lists + scanned * (size / 8 + 8) + RANDOM_READ * AT * setting.rerank * 2 * size
