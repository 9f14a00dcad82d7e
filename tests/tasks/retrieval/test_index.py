"""Nearest-vector search: exact indexes are exact, code indexes reach their recall, results are no near-duplicates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.retrieval.axes import fit_axes
from tasks.retrieval.codes import CodeIndex, Quantizer, Scheme, SearchParameters
from tasks.retrieval.index import IVF, Auto, Exact, Index, Scan, choose
from tasks.retrieval.tuning import TextSplit, measure_recall, tune
from tasks.retrieval.vectors import Vectors
from tests.fixtures.gap import gapped

Halfs = NDArray[np.float16]


def unit(vectors: NDArray[np.floating]) -> Halfs:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def points(count: int, dimensions: int = 32, seed: int = 0) -> Halfs:
    return unit(np.random.default_rng(seed).normal(size=(count, dimensions)))


def exact(*parts: Halfs) -> Index:
    return Index(Vectors(parts))


def coded(
    vectors: Halfs,
    texts: NDArray[np.float32],
    lists: int = 1,
    parameters: SearchParameters | None = None,
    scheme: Scheme = "rabitq",
) -> Index:
    codes = CodeIndex.empty(Quantizer.train(vectors, texts, lists, scheme))
    codes.add(vectors)
    return Index(
        Vectors([vectors]), codes=codes.with_parameters(parameters or SearchParameters(probes=lists, rerank=10))
    )


def test_an_exact_search_equals_a_full_scan_over_any_split_in_parts() -> None:
    vectors, queries = points(500), points(20, seed=1).astype(np.float32)
    scores, numbers = exact(vectors[:7], vectors[7:7], vectors[7:]).search(queries, 7)
    scan = queries @ vectors.astype(np.float32).T
    np.testing.assert_array_equal(numbers, np.argsort(-scan, axis=1)[:, :7])
    np.testing.assert_allclose(scores, -np.sort(-scan, axis=1)[:, :7], atol=1e-6)


def test_scores_do_not_depend_on_batch_or_index() -> None:
    vectors, texts = points(3000), points(300, seed=1).astype(np.float32)
    together, numbers = exact(vectors).search(texts, 5)
    for row in (0, 7, 299):
        np.testing.assert_array_equal(exact(vectors).search(texts[row : row + 1], 5)[0][0], together[row])
    scores, found = coded(vectors, texts, parameters=SearchParameters(rerank=100)).search(texts, 5)
    same = numbers == found
    assert same.mean() > 0.95
    np.testing.assert_array_equal(scores[same], together[same])


def test_vectors_are_memory_mapped(tmp_path: Path) -> None:
    vectors = points(40)
    for part in range(2):
        np.save(tmp_path / f"{part}.npy", vectors[part * 20 : part * 20 + 20])
    opened = Vectors.open([tmp_path / "0.npy", tmp_path / "1.npy"])
    assert all(isinstance(part, np.memmap) for part in opened.parts)
    np.testing.assert_array_equal(opened.take(np.array([39, 0, 20, 19])), vectors[[39, 0, 20, 19]])
    np.testing.assert_array_equal(opened.subset(np.array([3, 30]))[np.array([1, 0])], vectors[[30, 3]])


@pytest.mark.parametrize(("lists", "scheme"), [(1, "pq"), (1, "rabitq"), (20, "rabitq")])
def test_training_is_reproducible_and_saved_codes_answer_the_same(lists: int, scheme: Scheme, tmp_path: Path) -> None:
    vectors, texts = gapped(2000, 100, 32)
    for attempt in ("a", "b"):
        quantizer = Quantizer.train(vectors, texts, lists, scheme)
        quantizer.save(tmp_path / attempt)
        codes = CodeIndex.empty(quantizer)
        codes.add(vectors)
        codes.save(tmp_path / attempt / "codes.faiss")
    for name in ("axes.npz", "empty.faiss", "codes.faiss"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    opened = CodeIndex.open(
        Quantizer.open(tmp_path / "a"), tmp_path / "a" / "codes.faiss", SearchParameters(probes=lists)
    )
    np.testing.assert_array_equal(
        opened.candidates(texts, 9), codes.with_parameters(opened.parameters).candidates(texts, 9)
    )


def test_a_change_of_axes_keeps_inner_products() -> None:
    pictures, texts = gapped(2000, 500, 32)
    axes = fit_axes(pictures.astype(np.float32), texts)
    products = axes.transform_queries(texts) @ axes.transform_pictures(pictures).T
    plain = texts @ (pictures.astype(np.float32) - axes.centre).T
    np.testing.assert_allclose(products, plain, atol=1e-4)


@pytest.mark.parametrize("scheme", ["pq", "rabitq"])
def test_axes_fitted_to_texts_raise_the_recall_of_texts(scheme: Scheme) -> None:
    pictures, texts = gapped(8000, 1200, 64)
    plain = coded(pictures, np.empty((0, 64), np.float32), 1, SearchParameters(rerank=4), scheme)
    fitted = coded(pictures, texts[200:], 1, SearchParameters(rerank=4), scheme)
    assert measure_recall(fitted, texts[:200]).recall > measure_recall(plain, texts[:200]).recall + 0.02


def test_more_probes_and_candidates_raise_recall_and_exact_has_all() -> None:
    vectors, texts = gapped(4000, 200, 32)
    found = [
        measure_recall(
            coded(vectors, texts[100:], 40, SearchParameters(probes=probes, rerank=rerank)), texts[:100]
        ).recall
        for probes, rerank in ((1, 50), (40, 1), (40, 50))
    ]
    assert max(found[:2]) < 0.9 < 0.99 < found[2]
    assert measure_recall(exact(vectors), texts).recall == 1


@pytest.mark.parametrize("lists", [1, 40])
def test_tuning_reaches_its_target_on_other_texts_at_least_cost(lists: int) -> None:
    vectors, texts = gapped(4000, 900, 32)
    index = coded(vectors, texts[600:], lists)
    assert index.codes is not None
    chosen = [tune(index, texts[:300], target, 64) for target in (0.5, 0.8, 0.95)]
    for parameters, target in zip(chosen, (0.5, 0.8, 0.95), strict=True):
        tuned = Index(index.vectors, codes=index.codes.with_parameters(parameters))
        assert measure_recall(tuned, texts[300:600]).recall >= target
    assert [found.rerank * found.probes for found in chosen] == sorted(found.rerank * found.probes for found in chosen)
    assert chosen[0] != chosen[2]


def test_an_unreachable_target_gives_the_widest_parameters() -> None:
    vectors, texts = gapped(3000, 300, 32)
    assert tune(coded(vectors, texts), texts[:100], 1.0, 2) == SearchParameters(probes=1, rerank=2)


def test_recall_counts_equal_scores_as_equal() -> None:
    vectors = np.repeat(points(50), 4, axis=0)
    assert measure_recall(exact(vectors), vectors[::9].astype(np.float32), 3).recall == 1


def test_a_text_is_always_in_the_same_part_of_a_split() -> None:
    few, many = (TextSplit.of([f"text {number}" for number in range(count)], 500) for count in (100, 1000))
    assert set(few.tune) <= set(many.tune) and set(few.measure) <= set(many.measure)
    assert len({*many.train, *many.tune, *many.measure}) == 1000
    assert len(TextSplit.of(map(str, range(10_000)), 50).measure) <= 50


@pytest.mark.parametrize("lists", [0, 1, 40])
def test_masked_vectors_are_never_results(lists: int) -> None:
    vectors, texts = gapped(4000, 50, 32)
    served = np.random.default_rng(0).random(4000) < 0.3
    index = coded(vectors, texts, lists, SearchParameters(probes=lists, rerank=40)) if lists else exact(vectors)
    index.served = served
    scores, numbers = index.search(texts, 5)
    assert served[numbers].all()
    only_those = exact(vectors[served]).search(texts, 5)[0]
    assert (scores == only_those).mean() > 0.97
    assert len(index) == served.sum()
    few = np.arange(4000) % 400 == 7
    assert (index.search(texts, 2, few & served)[1] % 400 == 7).all()


def test_results_are_not_copies_of_one_picture() -> None:
    copies = unit(np.repeat(points(1), 300, axis=0) + 0.002 * np.random.default_rng(2).normal(size=(300, 32)))
    index = exact(copies, points(200, seed=3))
    (found,) = index.search_distinct(copies[:1].astype(np.float32), k=5, near=0.98, overfetch=4)
    assert len(found) == 5
    assert sum(number < 300 for number, _ in found) == 1
    vectors = index.vectors.take(np.array([number for number, _ in found])).astype(np.float32)
    assert (vectors @ vectors.T - np.eye(5)).max() < 0.98
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


def test_pictures_of_one_group_are_one_result() -> None:
    index = exact(points(6))
    index.groups = np.array([0, 0, 0, 3, 3, 5])
    (found,) = index.search_distinct(points(1, seed=5).astype(np.float32), k=5, near=1.0, overfetch=4)
    assert len({int(index.groups[number]) for number, _ in found}) == len(found) == 3


def test_fewer_results_come_back_only_where_no_more_exist() -> None:
    index = exact(np.repeat(points(2), 10, axis=0))
    (found,) = index.search_distinct(points(1, seed=5).astype(np.float32), k=5, near=0.98, overfetch=1)
    assert len(found) == 2


def test_distinct_results_do_not_depend_on_the_batch() -> None:
    index, queries = exact(points(300)), points(30, seed=1).astype(np.float32)
    assert index.search_distinct(queries, 5, 0.98, 4) == [
        index.search_distinct(query[None], 5, 0.98, 4)[0] for query in queries
    ]


def test_the_kind_of_index_follows_from_size_alone() -> None:
    config = Auto(memory=1, scanned=5_000_000)
    assert isinstance(choose(config, 400_000, 1152), Exact)
    assert isinstance(choose(config, 500_000, 1152), Scan)
    assert isinstance(choose(config, 400_000_000, 1152), IVF)
    assert isinstance(choose(config.model_copy(update={"gpu_memory": 60}), 20_000_000, 1152), Exact)
    assert choose(Exact(), 10**9, 1152) == Exact()
