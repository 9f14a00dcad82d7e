"""Repetition penalties: how large a share of its group an output's cluster of similar outputs is.

A group is the set of outputs that should be diverse: the queries of one domain (Searcher) or the questions of one batch
(Questioner). Outputs are clustered by average linkage, and

    repetition penalty(i) = (size of i's cluster) / (size of i's group),  0 for a group of one

(Active-Zero, section 3; settings of the published code).

Departures: the published code clusters each server's shard of the batch separately, and so misses duplicates across
shards; these functions take the whole batch. They never build the batch's matrix of distances (see `bleu` and
`clustering`); the result is the same.
"""

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tasks.rewards.bleu import close_pairs, count_ngrams, distance_matrix
from tasks.rewards.clustering import cluster_sizes
from tasks.rewards.presets import FloatArray, IntArray, Preset

TEXT_THRESHOLD = 0.5
"""Distance 1 - BLEU under which two texts are similar."""
IMAGE_THRESHOLD = 0.1
"""Cosine distance under which two images are similar."""
ROWS_PER_BLOCK = 1024


def text_repetition(
    texts: Sequence[str], groups: Sequence[Hashable] | None = None, preset: Preset = "repo"
) -> FloatArray:
    """Repetition penalty of each text, 0..1: float64 [texts]. Distance 1 - BLEU, cut at 0.5; `groups` None: one group.

    `repo` counts matches unclipped; `paper` and `safe` clip them as BLEU does (see `bleu`). Texts of fewer than 4 words
    have no 4-gram and are never similar to another text.
    """
    group = _group_numbers(groups, len(texts))
    table = count_ngrams(texts, group, clip=preset != "repo")
    pairs = close_pairs(table, TEXT_THRESHOLD)
    sizes = cluster_sizes(pairs, lambda part: distance_matrix(table, part), TEXT_THRESHOLD, group, _ranks(texts))
    return _penalties(sizes, group)


def history_penalty(texts: Sequence[str], earlier: Sequence[str], preset: Preset = "repo") -> FloatArray:
    """History penalty of each text: the share of the earlier texts that are similar to it, 0..1, float64 [texts].

        history penalty(i) = |{m in E: 1 - BLEU(i, m) < 0.5}| / |E|,  E = the earlier texts;  0 if E is empty

    The text repetition weighs a kind of question within the batch; this penalty weighs it in the same unit over earlier
    rounds, so the two are added. Penalties within one batch alone let kinds of questions alternate over rounds. An
    addition of ours: neither the paper nor its code penalizes earlier questions.
    """
    if not len(earlier) or not len(texts):
        return np.zeros(len(texts))
    table = count_ngrams([*texts, *earlier], _group_numbers(None, len(texts) + len(earlier)), clip=preset != "repo")
    first, second = close_pairs(table, TEXT_THRESHOLD, between=len(texts))
    similar = np.bincount(first[second >= len(texts)], minlength=len(texts))
    penalties: FloatArray = similar / len(earlier)
    return penalties


def image_repetition(embeddings: npt.ArrayLike, groups: Sequence[Hashable] | None = None) -> FloatArray:
    """Repetition penalty of each image, 0..1: float64 [images]. Cosine distance of the embeddings' rows, cut at 0.1.

    A row of zeros stands for an output that retrieved no image; it is similar to no other row.
    """
    rows = np.atleast_2d(np.asarray(embeddings, dtype=np.float64))
    if rows.size == 0:
        return np.zeros(0)
    group = _group_numbers(groups, len(rows))
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / np.where(norms == 0, 1, norms)
    pairs = [np.empty((2, 0), dtype=np.int64), *_close_images(unit, group)]
    first, second = np.concatenate(pairs, axis=1)
    ranks = np.lexsort(unit.T).argsort()
    sizes = cluster_sizes((first, second), lambda part: _cosine_distances(unit[part]), IMAGE_THRESHOLD, group, ranks)
    return _penalties(sizes, group)


def _group_numbers(groups: Sequence[Hashable] | None, count: int) -> IntArray:
    if groups is None:
        return np.zeros(count, dtype=np.int64)
    if len(groups) != count:
        raise ValueError(f"{len(groups)} groups for {count} outputs")
    numbers: dict[Hashable, int] = {}
    return np.fromiter((numbers.setdefault(group, len(numbers)) for group in groups), dtype=np.int64, count=count)


def _ranks(texts: Sequence[str]) -> IntArray:
    """Each text's position among the distinct texts in alphabetical order."""
    ranks: IntArray = np.unique(np.array(texts, dtype=object), return_inverse=True)[1]
    return ranks


def _penalties(sizes: IntArray, groups: IntArray) -> FloatArray:
    """Cluster sizes as shares of their groups; 0 in a group of one."""
    group_sizes = np.bincount(groups, minlength=1)[groups]
    return np.where(group_sizes > 1, sizes / np.maximum(group_sizes, 1), 0.0)


def _close_images(unit: FloatArray, groups: IntArray) -> Iterator[IntArray]:
    """Index pairs [2, pairs] of images of one group with a distance under the threshold, first below second."""
    for group in range(int(groups.max()) + 1):
        members = np.flatnonzero(groups == group)
        for start in range(0, len(members), ROWS_PER_BLOCK):
            block = members[start : start + ROWS_PER_BLOCK]
            i, j = np.nonzero(1 - unit[block] @ unit[members].T < IMAGE_THRESHOLD)
            first, second = block[i], members[j]
            yield np.stack([first, second])[:, first < second]


def _cosine_distances(unit: FloatArray) -> FloatArray:
    square: FloatArray = np.clip(1 - unit @ unit.T, 0, 2)
    np.fill_diagonal(square, 0)
    return square
