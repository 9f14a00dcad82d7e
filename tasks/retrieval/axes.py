"""A change of axes that makes short codes answer text queries.

Texts lie apart from all pictures (the modality gap) and vary along other directions. A code's error in the product of
a query and a vector grows with the lengths of both, also along directions in which only one of them varies and which
therefore decide nothing. Vectors may be changed to `A x` and queries to `inv(A).T q` without changing any product. Of
all A, the one with M = A.T A,

    M = X^-1/2 (X^1/2 Q X^1/2)^1/2 X^-1/2        X, Q: second moments of pictures (centred) and of queries,

gives both the same moments and makes the product of their lengths least. A random rotation then spreads the variance
evenly over the axes, which codes of one bit need. Measured (`make bench ARGS="-k ivf -s"`, two spectra, 16 candidates
re-ranked for each result): text recall@5 0.69 -> 0.97 and 0.13 -> 0.96, compared with RaBitQ on the vectors' own axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]

_FLOOR = 1e-3
"""Least variance of every direction, as a share of the mean variance: the inverse of A must exist."""


@dataclass(frozen=True)
class AxisTransform:
    """Two linear maps, one for pictures' vectors and one for queries, that keep the inner products of the two."""

    centre: Floats
    """[d]: the mean of the pictures' vectors."""
    pictures: Floats
    """[d, d]: A.T, rotated."""
    queries: Floats
    """[d, d]: inv(A), rotated."""

    def transform_pictures(self, vectors: NDArray[np.float16] | Floats) -> Floats:
        """Pictures' vectors [n, d] in the new axes, centred: float32 [n, d]."""
        import numpy as np

        transformed: Floats = ((vectors - self.centre) @ self.pictures).astype(np.float32, copy=False)
        return transformed

    def transform_queries(self, queries: Floats) -> Floats:
        """Queries [q, d] in the new axes: float32 [q, d]."""
        return queries @ self.queries

    def save(self, path: Path) -> None:
        """Write the `.npz` file that `open` reads."""
        import numpy as np

        np.savez(path, centre=self.centre, pictures=self.pictures, queries=self.queries)

    @classmethod
    def open(cls, path: Path) -> AxisTransform:
        """Read the file that `save` wrote."""
        import numpy as np

        with np.load(path) as file:
            return cls(file["centre"], file["pictures"], file["queries"])


def fit_axes(pictures: Floats, texts: Floats) -> AxisTransform:
    """Fit the change of axes to pictures [n, d] and sample queries [m, d], of which there may be few or none.

    The fewer the texts, the more the queries are taken to vary as the pictures do (weight of the texts: m / (m + d)).
    """
    import numpy as np

    centre = pictures.mean(axis=0)
    size = pictures.shape[1]
    images = _second_moment(pictures - centre)
    weight = len(texts) / (len(texts) + size)
    queries = weight * _second_moment(texts) + (1 - weight) * images / np.trace(images)
    images, queries = (moment + _FLOOR * np.trace(moment) / size * np.eye(size) for moment in (images, queries))
    half, inverse = _square_roots(images)
    metric = inverse @ _square_roots(half @ queries @ half)[0] @ inverse
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(size, size)))[0]
    forward, backward = (root @ rotation for root in _square_roots(metric))
    return AxisTransform(centre.astype(np.float32), forward.astype(np.float32), backward.astype(np.float32))


def _second_moment(vectors: Floats) -> Doubles:
    import numpy as np

    moment: Doubles = (vectors.T @ vectors / max(1, len(vectors))).astype(np.float64)
    return moment


def _square_roots(moment: Doubles) -> tuple[Doubles, Doubles]:
    """The square root of a symmetric positive matrix, and the inverse of that root."""
    import numpy as np

    values, axes = np.linalg.eigh((moment + moment.T) / 2)
    roots = np.sqrt(np.maximum(values, 1e-12))
    return (axes * roots) @ axes.T, (axes / roots) @ axes.T
