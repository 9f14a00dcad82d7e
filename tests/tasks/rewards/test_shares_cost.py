"""What exact shares cost beside the dense way. Opt-in: `pytest -m bench`."""

import resource
import time
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.cluster import AgglomerativeClustering
from sklearn.feature_extraction.text import CountVectorizer

from tasks.rewards import text_shares
from tasks.rewards.presets import FloatArray

pytestmark = pytest.mark.bench


def questions(count: int, kind: str) -> list[str]:
    """20 words each: `independent` draws; `templated`: 200 templates, a quarter of the words replaced; `skewed`: the
    same with a few very frequent words. In the last two some merges are exactly tied, and settled otherwise than by the
    dense way for 0.15 % and 0.8 % of the texts."""
    rng = np.random.default_rng(0)
    if kind == "independent":
        tokens = rng.integers(0, 3000, (count, 20))
    else:
        templates = rng.zipf(1.3, (200, 20)) % 3000 if kind == "skewed" else rng.integers(0, 3000, (200, 20))
        chosen = templates[rng.integers(0, 200, count)]
        tokens = np.where(rng.random(chosen.shape) < 0.25, rng.integers(0, 3000, chosen.shape), chosen)
    return [" ".join(f"w{token}" for token in row) for row in tokens]


def dense_shares(texts: list[str]) -> FloatArray:
    """The published way: the whole matrix of distances, then agglomerative clustering of it."""
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
    shares = np.zeros(len(texts))
    for group in set(groups):
        members = [k for k, g in enumerate(groups) if g == group]
        shares[members] = dense_shares([texts[k] for k in members])
    return shares


def seconds(work: Callable[[], FloatArray]) -> tuple[float, FloatArray]:
    """Processor time, since a benchmark may share its machine."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


@pytest.mark.parametrize(("kind", "tied"), [("independent", 0.0), ("templated", 0.01), ("skewed", 0.01)])
def test_one_group_of_4096_costs_a_quarter_of_the_dense_way(kind: str, tied: float) -> None:
    texts = questions(4096, kind)
    sparse, found = min((seconds(lambda: text_shares(texts)) for _ in range(3)), key=lambda pair: pair[0])
    dense, expected = seconds(lambda: dense_shares(texts))
    print(f"\n4096 {kind} texts, one group: {sparse:.3f} s, dense {dense:.2f} s, {dense / sparse:.1f} x")
    assert np.mean(np.abs(found - expected) > 1e-9) <= tied
    assert dense > 4 * sparse


@pytest.mark.parametrize("kind", ["independent", "templated"])
def test_61_groups_cost_half_of_the_dense_way(kind: str) -> None:
    texts, groups = questions(4096, kind), [k % 61 for k in range(4096)]
    sparse, found = min((seconds(lambda: text_shares(texts, groups)) for _ in range(3)), key=lambda pair: pair[0])
    dense, expected = seconds(lambda: dense_by_group(texts, groups))
    print(f"\n4096 {kind} texts, 61 groups: {sparse:.3f} s, dense {dense:.2f} s, {dense / sparse:.1f} x")
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert dense > 2 * sparse


@pytest.mark.parametrize("kind", ["independent", "templated"])
def test_40_000_texts_in_one_group_finish(kind: str) -> None:
    texts = questions(40_000, kind)
    elapsed, found = seconds(lambda: text_shares(texts))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\n40000 {kind} texts, one group: {elapsed:.1f} s, peak of the process so far {peak:.2f} GiB")
    assert len(found) == 40_000
