from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tasks.retrieval.plane import places_in_plane
from tasks.retrieval.vectors import Vectors


def corpus_of(vectors: np.ndarray[Any, Any]) -> Any:
    """As much of a corpus as a plane needs; picture n has the key `n`."""
    index = SimpleNamespace(vectors=Vectors([vectors.astype(np.float16)]))
    return SimpleNamespace(index=index, embeddings=lambda keys: vectors[[int(key) for key in keys]])


def test_the_first_axis_is_the_direction_of_most_variance() -> None:
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(400, 8)) * np.array([0.01, 3, 0.01, 1, 0.01, 0.01, 0.01, 0.01])
    places = places_in_plane(corpus_of(vectors), [str(n) for n in range(400)])
    x, y = np.array(list(places.values())).T
    assert abs(np.corrcoef(x, vectors[:, 1])[0, 1]) > 0.99
    assert abs(np.corrcoef(y, vectors[:, 3])[0, 1]) > 0.99


def test_a_place_does_not_depend_on_the_other_pictures_of_the_pool() -> None:
    corpus = corpus_of(np.random.default_rng(1).normal(size=(100, 6)))
    assert places_in_plane(corpus, ["3"])["3"] == pytest.approx(places_in_plane(corpus, ["7", "3", "5"])["3"])
    assert places_in_plane(corpus, []) == {}
