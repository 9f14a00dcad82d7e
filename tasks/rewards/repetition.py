"""Repetition penalties: which share of its group an output's own cluster holds.

A group is what must be diverse: the queries of one domain (Searcher) or the questions of one batch (Questioner).
Outputs are clustered by average linkage; share = (size of own cluster) / (number in the group), and 0 for a group of
one (Active-Zero, repetition penalties of section 3; settings of the published code).

Departures: the published code clusters each server's shard of the batch apart and so never sees duplicates in two
shards; these functions take the whole batch. And they never build the batch's matrix of distances (see `bleu` and
`clustering`), with the same result.
"""

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tasks.rewards.bleu import close_pairs, count_ngrams, distance_matrix
from tasks.rewards.clustering import cluster_sizes
from tasks.rewards.presets import FloatArray, IntArray, Preset

TEXT_THRESHOLD = 0.5
IMAGE_THRESHOLD = 0.1
ROWS_AT_ONCE = 1024


def text_repetition(
    texts: Sequence[str], groups: Sequence[Hashable] | None = None, preset: Preset = "repo"
) -> FloatArray:
    """Share of each text's cluster in its group; distance 1 - BLEU, cut at 0.5.

    `repo` counts matches unclipped, `paper` and `safe` clip them as BLEU does (see `bleu`). Texts of fewer than 4
    words have no 4-gram and are never alike under either.
    """
    group = _group_numbers(groups, len(texts))
    table = count_ngrams(texts, group, clip=preset != "repo")
    pairs = close_pairs(table, TEXT_THRESHOLD)
    sizes = cluster_sizes(pairs, lambda part: distance_matrix(table, part), TEXT_THRESHOLD, group, _ranks(texts))
    return _shares(sizes, group)


def history_penalty(texts: Sequence[str], earlier: Sequence[str], preset: Preset = "repo") -> FloatArray:
    """What share of all that was asked before is like each text: 0..1, float64 [texts].

        history penalty(i) = |{m in E: 1 - BLEU(i, m) < 0.5}| / |E|,  E = the earlier texts,

    and 0 where nothing was asked before. It weighs a text's mode in earlier rounds as the text repetition weighs it in
    the batch, so that it can be added to that penalty: shares inside one batch alone let modes take turns. An addition
    of ours; neither the paper nor its code looks back.
    """
    if not len(earlier) or not len(texts):
        return np.zeros(len(texts))
    table = count_ngrams([*texts, *earlier], _group_numbers(None, len(texts) + len(earlier)), clip=preset != "repo")
    first, second = close_pairs(table, TEXT_THRESHOLD, between=len(texts))
    alike = np.bincount(first[second >= len(texts)], minlength=len(texts))
    shares: FloatArray = alike / len(earlier)
    return shares


def image_repetition(embeddings: npt.ArrayLike, groups: Sequence[Hashable] | None = None) -> FloatArray:
    """Share of each image's cluster in its group; cosine distance of the embeddings (rows), cut at 0.1.

    A row of zeros stands for an output that retrieved no image: it is alike to nothing.
    """
    rows = np.atleast_2d(np.asarray(embeddings, dtype=np.float64))
    if rows.size == 0:
        return np.zeros(0)
    group = _group_numbers(groups, len(rows))
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / np.where(norms == 0, 1, norms)
    found = [np.empty((2, 0), dtype=np.int64), *_close_images(unit, group)]
    first, second = np.concatenate(found, axis=1)
    ranks = np.lexsort(unit.T).argsort()
    sizes = cluster_sizes((first, second), lambda part: _cosine(unit[part]), IMAGE_THRESHOLD, group, ranks)
    return _shares(sizes, group)


def _group_numbers(groups: Sequence[Hashable] | None, count: int) -> IntArray:
    if groups is None:
        return np.zeros(count, dtype=np.int64)
    if len(groups) != count:
        raise ValueError(f"{len(groups)} groups for {count} outputs")
    numbers: dict[Hashable, int] = {}
    return np.fromiter((numbers.setdefault(group, len(numbers)) for group in groups), dtype=np.int64, count=count)


def _ranks(texts: Sequence[str]) -> IntArray:
    """Where each text stands in the alphabet."""
    ranks: IntArray = np.unique(np.array(texts, dtype=object), return_inverse=True)[1]
    return ranks


def _shares(sizes: IntArray, groups: IntArray) -> FloatArray:
    number = np.bincount(groups, minlength=1)[groups]
    return np.where(number > 1, sizes / np.maximum(number, 1), 0.0)


def _close_images(unit: FloatArray, groups: IntArray) -> Iterator[IntArray]:
    for group in range(int(groups.max()) + 1):
        members = np.flatnonzero(groups == group)
        for start in range(0, len(members), ROWS_AT_ONCE):
            block = members[start : start + ROWS_AT_ONCE]
            i, j = np.nonzero(1 - unit[block] @ unit[members].T < IMAGE_THRESHOLD)
            first, second = block[i], members[j]
            yield np.stack([first, second])[:, first < second]


def _cosine(unit: FloatArray) -> FloatArray:
    square: FloatArray = np.clip(1 - unit @ unit.T, 0, 2)
    np.fill_diagonal(square, 0)
    return square
