"""Repetition and history penalties equal the dense published computation."""

from collections import Counter
from itertools import combinations
from math import exp, log

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform
from sklearn.cluster import AgglomerativeClustering

from tasks.rewards import history_penalty, image_repetition, text_repetition
from tasks.rewards.presets import FloatArray

Profile = list[Counter[tuple[str, ...]]]


def profile(text: str) -> Profile:
    words = text.split()
    return [Counter(tuple(words[k : k + n]) for k in range(len(words) - n + 1)) for n in range(1, 5)]


def reference_bleu(candidate: Profile, reference: Profile, clip: bool) -> float:
    logs = 0.0
    for c, r in zip(candidate, reference, strict=True):
        matches = sum(min(k, r[gram]) if clip else k * r[gram] for gram, k in c.items() if gram in r)
        logs += log(max(matches / max(c.total(), 1), 1e-9)) / 4
    length = candidate[0].total()
    return exp(logs) * min(1.0, exp(1 - reference[0].total() / length)) if length else 0.0


def reference_distances(texts: list[str], clip: bool) -> FloatArray:
    profiles = [profile(text) for text in texts]
    square = np.zeros((len(texts), len(texts)))
    for i, j in combinations(range(len(texts)), 2):
        a, b = profiles[i], profiles[j]
        square[i, j] = square[j, i] = 1 - (reference_bleu(a, b, clip) + reference_bleu(b, a, clip)) / 2
    return np.clip(square, 0, 1)


def reference_penalties(square: FloatArray, threshold: float) -> FloatArray:
    if len(square) < 2:
        return np.zeros(len(square))
    clustering = AgglomerativeClustering(None, metric="precomputed", linkage="average", distance_threshold=threshold)
    labels = clustering.fit_predict(square)
    return np.bincount(labels)[labels] / len(square)


def borderline(square: FloatArray, threshold: float) -> bool:
    """Whether rounding alone decides on which side of the threshold a merge falls."""
    heights = linkage(squareform(square, checks=False), "average")[:, 2]
    return bool(np.any(np.abs(heights - threshold) < 1e-9))


def template_texts(count: int, seed: int) -> list[str]:
    """Questions of 12 words from 12 templates, one word in six replaced."""
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, 300, (12, 12))[rng.integers(0, 12, count)]
    tokens = np.where(rng.random(chosen.shape) < 1 / 6, rng.integers(0, 300, chosen.shape), chosen)
    return [" ".join(f"w{token}" for token in row) for row in tokens]


sentences = st.lists(
    st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=9).map(" ".join)
    | st.tuples(st.sampled_from(["how many red", "what is the colour of the", "which"]), st.sampled_from("xyz")).map(
        lambda pair: f"{pair[0]} {pair[1]} in this picture here"
    ),
    max_size=14,
)


@pytest.mark.parametrize("preset", ["repo", "paper"])
@given(texts=sentences)
@settings(max_examples=50, deadline=None)
def test_text_repetition_equals_the_dense_definition(preset: str, texts: list[str]) -> None:
    square = reference_distances(texts, clip=preset == "paper")
    assume(len(texts) < 2 or not borderline(square, 0.5))
    np.testing.assert_allclose(text_repetition(texts, preset=preset), reference_penalties(square, 0.5), atol=1e-9)  # type: ignore[arg-type]


def test_large_groups_equal_the_dense_definition() -> None:
    texts = template_texts(270, seed=3)
    expected = reference_penalties(reference_distances(texts, clip=False), 0.5)
    assert len(np.unique(expected)) > 5
    np.testing.assert_allclose(text_repetition(texts), expected, atol=1e-9)


def test_repetitive_texts_are_similar_without_a_common_4_gram() -> None:
    a = " ".join(f"p q r x{k}" for k in range(1200))
    b = " ".join(f"p q r y{k}" for k in range(1200))
    assert reference_distances([a, b], clip=False)[0, 1] < 0.5
    assert text_repetition([a, b, "one other text of six words"]).tolist() == [2 / 3, 2 / 3, 1 / 3]
    assert text_repetition([a, b], preset="paper").tolist() == [0.5, 0.5]


def test_texts_of_three_words_are_never_similar() -> None:
    assert text_repetition(["how many dogs"] * 4).tolist() == [0.25] * 4


def test_a_group_of_one_has_no_penalty() -> None:
    assert text_repetition(["what is this thing here"]).tolist() == [0.0]
    assert image_repetition([[1.0, 0.0]]).tolist() == [0.0]


def test_no_outputs_have_no_penalties() -> None:
    assert text_repetition([]).shape == (0,)
    assert image_repetition(np.zeros((0, 8))).shape == (0,)


@given(texts=sentences, seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_groups_are_independent(texts: list[str], seed: int) -> None:
    groups = np.random.default_rng(seed).integers(0, 3, len(texts)).tolist()
    together = text_repetition(texts, groups)
    for group in set(groups):
        members = [k for k, g in enumerate(groups) if g == group]
        np.testing.assert_array_equal(together[members], text_repetition([texts[k] for k in members]))


def test_duplicate_questions_fill_their_group() -> None:
    texts = ["how many red cars are there"] * 3 + ["what is written on the blue sign"]
    assert text_repetition(texts).tolist() == [0.75, 0.75, 0.75, 0.25]


@given(seed=st.integers(0, 10_000), count=st.integers(2, 40))
@settings(max_examples=30, deadline=None)
def test_image_repetition_equals_the_dense_definition(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(4, 6))[rng.integers(0, 4, count)] + rng.normal(size=(count, 6)) * 0.35
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    square = np.clip(1 - unit @ unit.T, 0, 2)
    np.fill_diagonal(square, 0)
    np.testing.assert_allclose(image_repetition(rows), reference_penalties(square, 0.1), atol=1e-9)


def test_an_output_without_an_image_is_similar_to_no_other() -> None:
    assert image_repetition([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]).tolist() == [0.25, 0.25, 0.5, 0.5]


def test_groups_must_align_with_texts() -> None:
    with pytest.raises(ValueError, match="2 groups for 1 outputs"):
        text_repetition(["a"], ["x", "y"])


def test_the_order_of_a_large_batch_does_not_matter() -> None:
    texts = template_texts(1500, seed=4)
    order = np.random.default_rng(0).permutation(len(texts))
    np.testing.assert_array_equal(text_repetition([texts[k] for k in order]), text_repetition(texts)[order])


@pytest.mark.parametrize("preset", ["repo", "paper"])
@given(texts=sentences, earlier=sentences)
@settings(max_examples=40, deadline=None)
def test_history_penalties_equal_their_formula(preset: str, texts: list[str], earlier: list[str]) -> None:
    square = reference_distances([*texts, *earlier], clip=preset == "paper")[: len(texts), len(texts) :]
    assume(not np.any(np.abs(square - 0.5) < 1e-9))
    expected = (square < 0.5).sum(axis=1) / max(len(earlier), 1)
    found = history_penalty(texts, earlier, preset)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_only_texts_similar_to_earlier_ones_have_a_penalty() -> None:
    earlier = ["how many red cars are there now", "how many red cars are there here", "what is written on the sign"]
    texts = ["how many red cars are there today", "which of the two bars is higher"]
    np.testing.assert_allclose(history_penalty(texts, earlier), [2 / 3, 0])
    assert history_penalty(texts, []).tolist() == [0, 0]
    assert history_penalty([], earlier).shape == (0,)
