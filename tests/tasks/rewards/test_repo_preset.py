"""The `repo` preset equals a direct implementation of the published definition.

The reference is independent of `tasks.rewards`: scikit-learn counts the n-grams and clusters the full matrix.
"""

import numpy as np
import pytest
from sklearn.cluster import AgglomerativeClustering
from sklearn.feature_extraction.text import CountVectorizer

from tasks.rewards import image_repetition, questioner_rewards, searcher_rewards, solver_rewards, text_repetition
from tasks.rewards.presets import FloatArray

COUNT, DOMAINS = 700, 7


def bleu(texts: list[str]) -> FloatArray:
    """BLEU of every text (candidate, rows) against every other (reference, columns)."""
    lengths = np.array([len(text.split()) for text in texts], dtype=float)
    score = np.ones((len(texts), len(texts)))
    for n in range(1, 5):
        counts = CountVectorizer(token_pattern=r"\S+", ngram_range=(n, n), lowercase=False).fit_transform(texts)
        grams = counts.toarray().astype(float)
        precision = (grams @ grams.T) / np.maximum(grams.sum(axis=1), 1)[:, None]
        score *= np.maximum(precision, 1e-9) ** 0.25
    return score * np.minimum(1, np.exp(1 - lengths[None, :] / lengths[:, None]))


def cluster_share(square: FloatArray, threshold: float) -> FloatArray:
    """Size of each item's cluster / number of items."""
    np.fill_diagonal(square, 0)
    clustering = AgglomerativeClustering(None, metric="precomputed", linkage="average", distance_threshold=threshold)
    labels = clustering.fit_predict(square)
    return np.bincount(labels)[labels] / len(square)


def reference_text_repetition(texts: list[str]) -> FloatArray:
    scores = bleu(texts)
    return cluster_share(np.clip(1 - (scores + scores.T) / 2, 0, 1), 0.5)


def reference_image_repetition(rows: FloatArray) -> FloatArray:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return cluster_share(np.clip(1 - unit @ unit.T, 0, 2), 0.1)


@pytest.fixture(scope="module")
def batch() -> tuple[list[str], FloatArray, list[int], list[float | None], list[bool]]:
    """Templated texts and clustered pictures of seven domains, agreements (some none) and formats."""
    rng = np.random.default_rng(7)
    chosen = rng.integers(0, 400, (40, 14))[rng.integers(0, 40, COUNT)]
    tokens = np.where(rng.random(chosen.shape) < 0.15, rng.integers(0, 400, chosen.shape), chosen)
    texts = [" ".join(f"w{token}" for token in row[: rng.integers(6, 15)]) for row in tokens]
    rows = rng.normal(size=(30, 16))[rng.integers(0, 30, COUNT)] + 0.3 * rng.normal(size=(COUNT, 16))
    agreements = [None if rng.random() < 0.1 else float(rng.integers(1, 11)) / 10 for _ in range(COUNT)]
    return texts, rows, [k % DOMAINS for k in range(COUNT)], agreements, (rng.random(COUNT) < 0.8).tolist()


def by_domain(penalty, items, domains):  # type: ignore[no-untyped-def]
    penalties = np.zeros(len(domains))
    for domain in set(domains):
        members = [k for k, other in enumerate(domains) if other == domain]
        penalties[members] = penalty([items[k] for k in members] if isinstance(items, list) else items[members])
    return penalties


def published_reward(agreement: float | None, formatted: bool) -> float:
    difficulty = -1.0 if agreement is None else min(agreement, 1 - agreement)
    return 0.9 * difficulty + 0.1 * formatted


def test_searcher_rewards_equal_the_published_ones(batch) -> None:  # type: ignore[no-untyped-def]
    texts, rows, domains, agreements, formats = batch
    expected = np.array([published_reward(p, f) for p, f in zip(agreements, formats, strict=True)])
    expected -= by_domain(reference_text_repetition, texts, domains) + by_domain(
        reference_image_repetition, rows, domains
    )
    found = searcher_rewards(
        agreements, formats, text_repetition(texts, domains), image_repetition(rows, domains), "repo"
    )
    np.testing.assert_allclose(found, expected, atol=1e-9, rtol=0)
    assert len(np.unique(np.round(expected, 6))) > 50


def test_questioner_rewards_equal_the_published_ones(batch) -> None:  # type: ignore[no-untyped-def]
    texts, _, _, agreements, formats = batch
    expected = np.array(
        [published_reward(p, f) for p, f in zip(agreements, formats, strict=True)]
    ) - reference_text_repetition(texts)
    found = questioner_rewards(agreements, formats, text_repetition(texts), "repo")
    np.testing.assert_allclose(found, expected, atol=1e-9, rtol=0)


def test_solver_rewards_equal_the_published_ones() -> None:
    correct, boxed = [True, True, False, False], [True, False, True, False]
    expected = [0.9 * right + 0.1 * box for right, box in zip(correct, boxed, strict=True)]
    np.testing.assert_allclose(solver_rewards(correct, boxed, "repo"), expected, atol=1e-9, rtol=0)
