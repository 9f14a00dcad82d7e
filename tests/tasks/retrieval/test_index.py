"""Nearest vectors: exact where it says so, measured where not, and never five copies of one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.retrieval.codes import Codes, Quantizer, Scheme, Setting
from tasks.retrieval.equalize import fit
from tasks.retrieval.index import IVF, Auto, Exact, Index, Scan, choose
from tasks.retrieval.tuning import Texts, measure, tune
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
    setting: Setting | None = None,
    scheme: Scheme = "rabitq",
) -> Index:
    codes = Codes.empty(Quantizer.train(vectors, texts, lists, scheme))
    codes.add(vectors)
    return Index(Vectors([vectors]), codes=codes.with_setting(setting or Setting(probes=lists, rerank=10)))


def test_exact_is_a_scan_of_the_float16_vectors_whatever_parts_they_lie_in() -> None:
    vectors, queries = points(500), points(20, seed=1).astype(np.float32)
    scores, numbers = exact(vectors[:7], vectors[7:7], vectors[7:]).search(queries, 7)
    scan = queries @ vectors.astype(np.float32).T
    np.testing.assert_array_equal(numbers, np.argsort(-scan, axis=1)[:, :7])
    np.testing.assert_allclose(scores, -np.sort(-scan, axis=1)[:, :7], atol=1e-6)


def test_scores_do_not_depend_on_the_rest_of_the_batch_or_on_the_index() -> None:
    vectors, texts = points(3000), points(300, seed=1).astype(np.float32)
    together, numbers = exact(vectors).search(texts, 5)
    for row in (0, 7, 299):
        np.testing.assert_array_equal(exact(vectors).search(texts[row : row + 1], 5)[0][0], together[row])
    scores, found = coded(vectors, texts, setting=Setting(rerank=100)).search(texts, 5)
    same = numbers == found
    assert same.mean() > 0.95
    np.testing.assert_array_equal(scores[same], together[same])


def test_vectors_are_mapped_not_read(tmp_path: Path) -> None:
    vectors = points(40)
    for part in range(2):
        np.save(tmp_path / f"{part}.npy", vectors[part * 20 : part * 20 + 20])
    opened = Vectors.open([tmp_path / "0.npy", tmp_path / "1.npy"])
    assert all(isinstance(part, np.memmap) for part in opened.parts)
    np.testing.assert_array_equal(opened.take(np.array([39, 0, 20, 19])), vectors[[39, 0, 20, 19]])
    np.testing.assert_array_equal(opened.picked(np.array([3, 30]))[np.array([1, 0])], vectors[[30, 3]])


@pytest.mark.parametrize(("lists", "scheme"), [(1, "pq"), (1, "rabitq"), (20, "rabitq")])
def test_saved_codes_open_with_the_same_answers_and_training_twice_gives_the_same_bytes(
    lists: int, scheme: Scheme, tmp_path: Path
) -> None:
    vectors, texts = gapped(2000, 100, 32)
    for attempt in ("a", "b"):
        quantizer = Quantizer.train(vectors, texts, lists, scheme)
        quantizer.save(tmp_path / attempt)
        codes = Codes.empty(quantizer)
        codes.add(vectors)
        codes.save(tmp_path / attempt / "codes.faiss")
    for name in ("equalizer.npz", "empty.faiss", "codes.faiss"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    opened = Codes.open(Quantizer.open(tmp_path / "a"), tmp_path / "a" / "codes.faiss", Setting(probes=lists))
    np.testing.assert_array_equal(opened.candidates(texts, 9), codes.with_setting(opened.setting).candidates(texts, 9))


def test_a_change_of_axes_changes_no_product() -> None:
    pictures, texts = gapped(2000, 500, 32)
    equalizer = fit(pictures.astype(np.float32), texts)
    products = equalizer.of_queries(texts) @ equalizer.of_pictures(pictures).T
    plain = texts @ (pictures.astype(np.float32) - equalizer.centre).T
    np.testing.assert_allclose(products, plain, atol=1e-4)


@pytest.mark.parametrize("scheme", ["pq", "rabitq"])
def test_a_change_of_axes_fitted_to_texts_finds_more_for_texts(scheme: Scheme) -> None:
    pictures, texts = gapped(8000, 1200, 64)
    plain = coded(pictures, np.empty((0, 64), np.float32), 1, Setting(rerank=4), scheme)
    fitted = coded(pictures, texts[200:], 1, Setting(rerank=4), scheme)
    assert measure(fitted, texts[:200]).recall > measure(plain, texts[:200]).recall + 0.02


def test_more_probes_and_more_candidates_recall_more_and_exact_recalls_all() -> None:
    vectors, texts = gapped(4000, 200, 32)
    found = [
        measure(coded(vectors, texts[100:], 40, Setting(probes=probes, rerank=rerank)), texts[:100]).recall
        for probes, rerank in ((1, 50), (40, 1), (40, 50))
    ]
    assert max(found[:2]) < 0.9 < 0.99 < found[2]
    assert measure(exact(vectors), texts).recall == 1


@pytest.mark.parametrize("lists", [1, 40])
def test_tuning_reaches_its_target_on_other_texts_with_no_more_than_it_needs(lists: int) -> None:
    vectors, texts = gapped(4000, 900, 32)
    index = coded(vectors, texts[600:], lists)
    assert index.codes is not None
    settings = [tune(index, texts[:300], target, 64) for target in (0.5, 0.8, 0.95)]
    for setting, target in zip(settings, (0.5, 0.8, 0.95), strict=True):
        tuned = Index(index.vectors, codes=index.codes.with_setting(setting))
        assert measure(tuned, texts[300:600]).recall >= target
    assert [one.rerank * one.probes for one in settings] == sorted(one.rerank * one.probes for one in settings)
    assert settings[0] != settings[2]


def test_what_cannot_be_reached_is_tuned_to_the_widest() -> None:
    vectors, texts = gapped(3000, 300, 32)
    assert tune(coded(vectors, texts), texts[:100], 1.0, 2) == Setting(probes=1, rerank=2)


def test_recall_counts_equal_scores_as_equal() -> None:
    vectors = np.repeat(points(50), 4, axis=0)
    assert measure(exact(vectors), vectors[::9].astype(np.float32), 3).recall == 1


def test_a_text_is_always_in_the_same_part_and_parts_do_not_overlap() -> None:
    few, many = (Texts.divided([f"text {number}" for number in range(count)], 500) for count in (100, 1000))
    assert set(few.tune) <= set(many.tune) and set(few.measure) <= set(many.measure)
    assert len({*many.train, *many.tune, *many.measure}) == 1000
    assert len(Texts.divided(map(str, range(10_000)), 50).measure) <= 50


@pytest.mark.parametrize("lists", [0, 1, 40])
def test_masked_vectors_are_never_found_and_take_no_place(lists: int) -> None:
    vectors, texts = gapped(4000, 50, 32)
    served = np.random.default_rng(0).random(4000) < 0.3
    index = coded(vectors, texts, lists, Setting(probes=lists, rerank=40)) if lists else exact(vectors)
    index.served = served
    scores, numbers = index.search(texts, 5)
    assert served[numbers].all()
    only_those = exact(vectors[served]).search(texts, 5)[0]
    assert (scores == only_those).mean() > 0.97
    assert len(index) == served.sum()
    few = np.arange(4000) % 400 == 7
    assert (index.search(texts, 2, few & served)[1] % 400 == 7).all()


def test_results_are_never_copies_of_one_picture() -> None:
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


def test_fewer_come_back_only_where_there_are_no_more() -> None:
    index = exact(np.repeat(points(2), 10, axis=0))
    (found,) = index.search_distinct(points(1, seed=5).astype(np.float32), k=5, near=0.98, overfetch=1)
    assert len(found) == 2


def test_answers_do_not_depend_on_the_rest_of_the_batch() -> None:
    index, queries = exact(points(300)), points(30, seed=1).astype(np.float32)
    assert index.search_distinct(queries, 5, 0.98, 4) == [
        index.search_distinct(query[None], 5, 0.98, 4)[0] for query in queries
    ]


def test_the_index_is_chosen_by_size_alone() -> None:
    config = Auto(memory=1, scanned=5_000_000)
    assert isinstance(choose(config, 400_000, 1152), Exact)
    assert isinstance(choose(config, 500_000, 1152), Scan)
    assert isinstance(choose(config, 400_000_000, 1152), IVF)
    assert isinstance(choose(config.model_copy(update={"gpu_memory": 60}), 20_000_000, 1152), Exact)
    assert choose(Exact(), 10**9, 1152) == Exact()
