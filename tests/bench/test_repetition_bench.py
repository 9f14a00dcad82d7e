"""Cost of the exact repetition penalties beside the dense computation, and the effect of ties. Opt-in: `make bench`.

`peak_gib` is the peak of the whole process so far, the dense matrices included; run one test alone (`-k 40_000`) to see
its own peak.
"""

import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.cluster import AgglomerativeClustering
from sklearn.feature_extraction.text import CountVectorizer

from tasks.rewards import history_penalty, text_repetition
from tasks.rewards.presets import FloatArray

pytestmark = pytest.mark.bench


def questions(count: int, kind: str) -> list[str]:
    """20 words each: `independent` draws; `templated`: 200 templates, a quarter of the words replaced; `skewed`: the
    same with a few very frequent words. In the last two some merges are exact ties, so the
    result of the dense computation depends on the order of the texts."""
    rng = np.random.default_rng(0)
    if kind == "independent":
        tokens = rng.integers(0, 3000, (count, 20))
    else:
        templates = rng.zipf(1.3, (200, 20)) % 3000 if kind == "skewed" else rng.integers(0, 3000, (200, 20))
        chosen = templates[rng.integers(0, 200, count)]
        tokens = np.where(rng.random(chosen.shape) < 0.25, rng.integers(0, 3000, chosen.shape), chosen)
    return [" ".join(f"w{token}" for token in row) for row in tokens]


def dense_penalties(texts: list[str]) -> FloatArray:
    """The published computation: the full matrix of distances, then agglomerative clustering."""
    lengths = np.array([len(text.split()) for text in texts], dtype=float)
    logs = np.zeros((len(texts), len(texts)))
    for n in range(1, 5):
        counts = CountVectorizer(token_pattern=r"\S+", ngram_range=(n, n), dtype=np.float64).fit_transform(texts)
        matches = (counts @ counts.T).toarray()
        logs += np.log(np.maximum(matches / np.maximum(lengths - n + 1, 1)[:, None], 1e-9)) / 4
    bleu = np.exp(logs) * np.exp(np.minimum(0, 1 - lengths[None, :] / lengths[:, None]))
    square = np.clip(1 - (bleu + bleu.T) / 2, 0, 1)
    np.fill_diagonal(square, 0)
    clustering = AgglomerativeClustering(None, metric="precomputed", linkage="average", distance_threshold=0.5)
    labels = clustering.fit_predict(square)
    return np.bincount(labels)[labels] / len(texts)


def dense_by_group(texts: list[str], groups: list[int]) -> FloatArray:
    penalties = np.zeros(len(texts))
    for group in set(groups):
        members = [k for k, g in enumerate(groups) if g == group]
        penalties[members] = dense_penalties([texts[k] for k in members])
    return penalties


def seconds(work: Callable[[], FloatArray]) -> tuple[float, FloatArray]:
    """Processor time, since a benchmark may share its machine."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["independent", "templated", "skewed"])
def test_one_group_of_4096_costs_a_quarter_of_the_dense_one(benchmark: Any, kind: str) -> None:
    texts = questions(4096, kind)
    sparse, found = min((seconds(lambda: text_repetition(texts)) for _ in range(3)), key=lambda pair: pair[0])
    dense, expected = seconds(lambda: dense_penalties(texts))
    order = np.random.default_rng(1).permutation(len(texts))
    shuffled = np.empty(len(texts))
    shuffled[order] = dense_penalties([texts[k] for k in order])
    benchmark.pedantic(text_repetition, args=(texts,), rounds=2)
    report(
        benchmark,
        sparse,
        dense,
        unlike_dense=differing(found, expected),
        dense_unlike_itself=differing(shuffled, expected),
    )
    assert differing(found, expected) <= 1.5 * differing(shuffled, expected)
    assert dense > 4 * sparse


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["independent", "templated"])
def test_61_groups_cost_half_of_the_dense_computation(benchmark: Any, kind: str) -> None:
    texts, groups = questions(4096, kind), [k % 61 for k in range(4096)]
    sparse, found = min((seconds(lambda: text_repetition(texts, groups)) for _ in range(3)), key=lambda pair: pair[0])
    dense, expected = seconds(lambda: dense_by_group(texts, groups))
    benchmark.pedantic(text_repetition, args=(texts, groups), rounds=2)
    report(benchmark, sparse, dense)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert dense > 2 * sparse


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["independent", "templated"])
def test_40_000_texts_in_one_group_finish(benchmark: Any, kind: str) -> None:
    texts = questions(40_000, kind)
    elapsed, found = seconds(lambda: text_repetition(texts))
    benchmark.pedantic(lambda: None, rounds=1)
    report(benchmark, elapsed, None)
    assert len(found) == 40_000


@pytest.mark.timeout(900)
def test_a_history_of_40_000_texts_costs_seconds_a_batch(benchmark: Any) -> None:
    earlier, texts = questions(40_000, "templated"), questions(4096, "templated")
    elapsed, found = seconds(lambda: history_penalty(texts, earlier))
    benchmark.pedantic(lambda: None, rounds=1)
    report(benchmark, elapsed, None)
    assert 0 < found.mean() < 1


def differing(one: FloatArray, other: FloatArray) -> float:
    """Share of the texts whose penalties differ."""
    return float(np.mean(np.abs(one - other) > 1e-9))


def report(benchmark: Any, sparse: float, dense: float | None, **more: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    ratio = {} if dense is None else {"dense_s": round(dense, 2), "ratio": round(dense / sparse, 1)}
    benchmark.extra_info.update({"s": round(sparse, 3), **ratio, "peak_gib": round(peak, 2), **more})
    print(f"\n{benchmark.extra_info}")
