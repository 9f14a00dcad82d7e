"""Nearest vectors: exact where it says so, measured where not, and never five copies of one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.retrieval.index import IVF, Exact, Index, recall


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float16]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def points(count: int, dimensions: int = 32, seed: int = 0) -> NDArray[np.float16]:
    return unit(np.random.default_rng(seed).normal(size=(count, dimensions)))


def test_exact_is_a_scan_of_the_float16_vectors() -> None:
    vectors, queries = points(500), points(20, seed=1).astype(np.float32)
    scores, numbers = Exact().build(vectors).search(queries, 7)
    scan = queries @ vectors.astype(np.float32).T
    np.testing.assert_array_equal(numbers, np.argsort(-scan, axis=1)[:, :7])
    np.testing.assert_allclose(scores, -np.sort(-scan, axis=1)[:, :7], atol=1e-6)


@pytest.mark.parametrize("config", [Exact(), IVF(probes=4)])
def test_a_saved_index_opens_with_the_same_answers_and_vectors(config: Exact | IVF, tmp_path: Path) -> None:
    vectors, queries = points(2000), points(9, seed=1).astype(np.float32)
    built = config.build(vectors)
    built.save(tmp_path / "index.faiss")
    opened = Index.open(tmp_path / "index.faiss")
    for before, after in zip(built.search(queries, 5), opened.search(queries, 5), strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(opened.vectors(np.array([3, 1999])), vectors[[3, 1999]].astype(np.float32))


def test_more_probes_recall_more_and_exact_recalls_all() -> None:
    vectors, queries = points(4000), points(100, seed=1).astype(np.float32)
    few, many = (recall(IVF(lists=64, probes=probes, rerank=100).build(vectors), queries, 5) for probes in (1, 48))
    assert few < 0.7 < 0.9 < many
    assert recall(Exact().build(vectors), queries, 5) == 1


def test_recall_counts_equal_scores_as_equal() -> None:
    vectors = np.repeat(points(50), 4, axis=0)
    assert recall(Exact().build(vectors), vectors[::9].astype(np.float32), 3) == 1


def test_results_are_never_copies_of_one_picture() -> None:
    copies = unit(np.repeat(points(1), 300, axis=0) + 0.002 * np.random.default_rng(2).normal(size=(300, 32)))
    index = Exact().build(np.concatenate([copies, points(200, seed=3)]))
    (found,) = index.search_distinct(copies[:1].astype(np.float32), k=5, near=0.98, overfetch=4)
    assert len(found) == 5
    assert sum(number < 300 for number, _ in found) == 1
    vectors = index.vectors(np.array([number for number, _ in found]))
    assert (vectors @ vectors.T - np.eye(5)).max() < 0.98
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


def test_fewer_come_back_only_where_there_are_no_more() -> None:
    index = Exact().build(np.repeat(points(2), 10, axis=0))
    (found,) = index.search_distinct(points(1, seed=5).astype(np.float32), k=5, near=0.98, overfetch=1)
    assert len(found) == 2


def test_answers_do_not_depend_on_the_rest_of_the_batch() -> None:
    index, queries = Exact().build(points(300)), points(30, seed=1).astype(np.float32)
    together = index.search_distinct(queries, 5, 0.98, 4)
    alone = [index.search_distinct(query[None], 5, 0.98, 4)[0] for query in queries]
    assert [[number for number, _ in found] for found in together] == [
        [number for number, _ in found] for found in alone
    ]
