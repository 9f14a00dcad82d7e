"""Pairwise BLEU distances within groups of texts, without comparing every pair.

BLEU of a candidate c against a reference r takes words split on white space, n-grams of 1 to 4 words, precisions

    p_n(c, r) = max(matches_n(c, r) / T_n(c), 1e-9),  T_n(c) = number of n-grams in c,

the precisions' geometric mean, and the brevity penalty min(1, exp(1 - |r| / |c|)). The distance of two texts is one
minus the mean BLEU of both directions, clipped to 0..1.

Departures from textbook BLEU, all of the published code (`repo`): matches are the *dot product* of the two texts'
counts, so p_n may exceed 1 for repetitive texts; and because of the floor, a text of fewer than 4 words is distant from
every text, even from its own copy. With `clip` (`paper`, `safe`) matches are clipped as BLEU clips them: the k-th
occurrence of an n-gram is a feature of its own, so that the same dot product gives the sum of min(count_c, count_r).

Which pairs can be closer than a threshold t < 1? A mean BLEU above 1 - t needs one direction above 1 - t.

- Pairs with a common 4-gram: the non-zeros of the sparse product of the 4-gram counts. The Cauchy-Schwarz bound
  p_n(c, r) <= ||c_n|| ||r_n|| / T_n(c) on the three lower orders excludes most of them.
- Pairs without a common 4-gram: p_4 is the floor. As p_n(c, r) <= the highest count of one n-gram in r, BLEU(c, r)^4 <=
  1e-9 * peak_1(r) peak_2(r) peak_3(r). Only a reference whose peaks multiply to more than (1 - t)^4 * 1e9 (for instance
  a word repeated 400 times) can be close; such texts are compared with their whole group. Clipped counts have none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING

import numpy as np

from tasks.rewards.presets import FloatArray, IntArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

ORDERS = 4
FLOOR = 1e-9
PAIRS_PER_BLOCK = 1 << 20
"""Pairs with a common 4-gram held in memory at a time. 2**20 keeps a batch of 40 000 texts under 1 GB."""
PAIRS_IN_CACHE = 1 << 17
"""Pairs whose full distances are computed at a time, in arrays of 1 MB. 2**20 was 1.3 times slower."""


@dataclass(frozen=True)
class NgramCounts:
    """n-gram counts of every text. Texts of different groups share no column, so their products are 0."""

    groups: IntArray
    lengths: FloatArray
    """Words of each text."""
    counts: tuple[csr_array, ...]
    """One matrix [texts, n-grams] for each order 1..4."""
    totals: FloatArray
    """Number of n-grams of each text: [orders, texts]."""
    norms: FloatArray
    """Euclidean norm of each text's counts: [orders, texts]."""
    peaks: FloatArray
    """Highest count of one n-gram in each text, at least 1: [orders, texts]."""


def count_ngrams(texts: Sequence[str], groups: IntArray, clip: bool) -> NgramCounts:
    """Count the n-grams of 1 to 4 words; with `clip`, count first, second, ... occurrences as different n-grams."""
    words = [text.split() for text in texts]
    sizes = np.fromiter(map(len, words), dtype=np.int64, count=len(words))
    vocabulary: dict[str, int] = {}
    word = np.fromiter((vocabulary.setdefault(w, len(vocabulary)) for w in chain.from_iterable(words)), dtype=np.int64)
    owner = np.repeat(np.arange(len(words)), sizes)
    left = np.repeat(np.cumsum(sizes), sizes) - np.arange(len(word))  # words from here to the end of the text
    gram = groups[owner]
    matrices = []
    for order in range(1, ORDERS + 1):
        starts = np.flatnonzero(left >= order)
        longer = gram[starts] * max(len(vocabulary), 1) + word[starts + order - 1]
        columns, gram[starts] = np.unique(longer, return_inverse=True)
        matrix = _count(owner[starts], gram[starts], (len(words), len(columns)))
        matrices.append(_occurrences(matrix) if clip else matrix)
    return NgramCounts(
        groups=groups,
        lengths=sizes.astype(np.float64),
        counts=tuple(matrices),
        totals=np.stack([np.maximum(sizes - order, 0) for order in range(ORDERS)]).astype(np.float64),
        norms=np.stack([np.sqrt(m.power(2).sum(axis=1)) for m in matrices]),
        peaks=np.stack([np.maximum(m.max(axis=1).toarray() if m.nnz else 0, np.ones(len(words))) for m in matrices]),
    )


def _count(rows: IntArray, columns: IntArray, shape: tuple[int, int]) -> csr_array:
    from scipy.sparse import csr_array

    matrix = csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
    matrix.sum_duplicates()
    return matrix


def _occurrences(counts: csr_array) -> csr_array:
    """Replace each count k by k ones, in the columns of the first to the k-th occurrence."""
    times = counts.data.astype(np.int64)
    highest = np.zeros(counts.shape[1], dtype=np.int64)
    np.maximum.at(highest, counts.indices, times)
    first_column = np.cumsum(highest) - highest
    rows = np.repeat(np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr)), times)
    occurrence = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    return _count(rows, first_column[np.repeat(counts.indices, times)] + occurrence, (counts.shape[0], highest.sum()))


def distance_matrix(table: NgramCounts, members: IntArray) -> FloatArray:
    """Distances among the texts `members`, float64 [members, members]; only the upper triangle is filled."""
    counts = [matrix[members] for matrix in table.counts]
    transposed = [matrix.T.tocsr() for matrix in counts]
    square = np.zeros((len(members), len(members)))
    step = max(1, PAIRS_IN_CACHE // len(members))
    for start in range(0, len(members), step):
        rows = slice(start, start + step)
        matches = [(a[rows] @ b).toarray()[:, start:] for a, b in zip(counts, transposed, strict=True)]
        square[rows, start:] = _distances(table, members[rows, None], members[None, start:], matches)
    return square


def close_pairs(table: NgramCounts, threshold: float, between: int | None = None) -> tuple[IntArray, IntArray]:
    """All index pairs i < j of one group with a distance under `threshold`, each once: int64 [pairs] twice.

    With `between`, only pairs of one of the first `between` texts with one of the others.
    """
    found = [
        *_pairs_with_a_common_ngram(table, threshold, between),
        *_pairs_of_repetitive_texts(table, threshold, between),
    ]
    if not found:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    pairs = np.unique(np.concatenate(found, axis=1), axis=1) if len(found) > 1 else found[0]
    return pairs[0], pairs[1]


def _pairs_with_a_common_ngram(table: NgramCounts, threshold: float, between: int | None) -> Iterator[IntArray]:
    """Close pairs among those with a common 4-gram."""
    counts, others = table.counts[ORDERS - 1], table.counts[ORDERS - 1]
    if between is not None:
        counts, others = counts[:between], others[between:]
    transposed = others.T.tocsr()
    work = counts.astype(bool) @ np.diff(transposed.indptr)  # an upper bound on the non-zeros of each row
    for rows in _blocks(work):
        product = (counts[rows] @ transposed).tocoo()
        i, j, matches = product.row + rows.start, product.col.astype(np.int64) + (between or 0), product.data
        upper = i < j
        i, j, matches = i[upper], j[upper], matches[upper]
        possible = _may_be_close(table, i, j, matches, threshold)
        yield _close_among(table, i[possible], j[possible], threshold)


def _blocks(work: FloatArray) -> Iterator[slice]:
    """Blocks of consecutive rows whose work adds up to about PAIRS_PER_BLOCK."""
    bounds = np.flatnonzero(np.diff(np.cumsum(work) // PAIRS_PER_BLOCK, prepend=-1.0))
    for start, stop in pairwise([*bounds.tolist(), len(work)]):
        yield slice(start, stop)


def _may_be_close(table: NgramCounts, i: IntArray, j: IntArray, matches: FloatArray, threshold: float) -> np.ndarray:
    """Whether the upper bound on the mean BLEU, given the matching 4-grams, reaches 1 - threshold: bool [pairs]."""
    norms = np.log(np.maximum(table.norms[:-1], 1)).sum(axis=0)
    ratios = norms - np.log(np.maximum(table.totals, 1)).sum(axis=0)
    common = np.log(matches)
    forward = np.exp((common + ratios[i] + norms[j]) / ORDERS) * _brevity(table.lengths[i], table.lengths[j])
    backward = np.exp((common + ratios[j] + norms[i]) / ORDERS) * _brevity(table.lengths[j], table.lengths[i])
    possible: np.ndarray = forward + backward > 2 * (1 - threshold) - 1e-9
    return possible


def _close_among(table: NgramCounts, i: IntArray, j: IntArray, threshold: float) -> IntArray:
    """The pairs among (i, j) with a distance under the threshold: int64 [2, pairs]."""
    kept = [np.empty((2, 0), dtype=np.int64)]
    for start in range(0, len(i), PAIRS_IN_CACHE):
        a, b = i[start : start + PAIRS_IN_CACHE], j[start : start + PAIRS_IN_CACHE]
        matches = [np.asarray(m[a].multiply(m[b]).sum(axis=1)) for m in table.counts]
        close = _distances(table, a, b, matches) < threshold
        kept.append(np.stack([a[close], b[close]]))
    return np.concatenate(kept, axis=1)


def _pairs_of_repetitive_texts(table: NgramCounts, threshold: float, between: int | None) -> Iterator[IntArray]:
    """Close pairs of the texts that can be close to another text without a common 4-gram."""
    bound = np.log(FLOOR) + np.log(table.peaks[:-1]).sum(axis=0)  # log of the greatest BLEU^4 without a common 4-gram
    for text in np.flatnonzero(bound > ORDERS * np.log(1 - threshold) - 1e-9):
        others = np.flatnonzero(table.groups == table.groups[text])
        others = others[others != text] if between is None else others[(others < between) != (text < between)]
        yield _close_among(table, np.minimum(text, others), np.maximum(text, others), threshold)


def _distances(table: NgramCounts, i: IntArray, j: IntArray, matches: Sequence[FloatArray]) -> FloatArray:
    """1 - (BLEU(i, j) + BLEU(j, i)) / 2, clipped to 0..1, from the matches of each order. i and j broadcast."""
    distances: FloatArray = np.clip(1 - (_bleu(table, i, j, matches) + _bleu(table, j, i, matches)) / 2, 0, 1)
    return distances


def _bleu(table: NgramCounts, candidate: IntArray, reference: IntArray, matches: Sequence[FloatArray]) -> FloatArray:
    product: FloatArray = np.ones(1)
    for total, match in zip(table.totals, matches, strict=True):
        product = product * np.maximum(match / np.maximum(total, 1)[candidate], FLOOR)
    score: FloatArray = np.sqrt(np.sqrt(product)) * _brevity(table.lengths[candidate], table.lengths[reference])
    return score


def _brevity(candidate: FloatArray, reference: FloatArray) -> FloatArray:
    penalty: FloatArray = np.exp(np.minimum(0, 1 - reference / np.maximum(candidate, 1)))
    return penalty
