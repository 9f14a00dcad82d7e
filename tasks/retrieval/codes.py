"""Vectors as codes of one bit a dimension, in one list that is scanned whole or in inverted lists.

There are two kinds of code. `rabitq` keeps signs, and a query's products with them are estimated without bias. `pq`
keeps, for each four dimensions, the nearest of 16 centroids. `rabitq` finds a little more with equally many candidates,
but `pq` is scanned four times as fast (FAISS 1.15 corrects each of RaBitQ's products in floats), so `pq` wins at equal
latency.

Codes only propose candidates; scores are computed from the float16 vectors (`vectors.py`). One quantizer, trained once,
codes all shards, so adding a shard codes that shard only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from tasks.retrieval.axes import AxisTransform, fit_axes
from tasks.settings.base import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tasks.retrieval.vectors import Floats, Numbers

Scheme = Literal["pq", "rabitq"]
SEED = 1234
_BLOCK = 1 << 14
_SAMPLES_PER_LIST = 64


class SearchParameters(Settings):
    """How much of the codes a query reads: chosen by `tuning.tune`."""

    probes: int = Field(default=1, ge=1)
    """Inverted lists that a query scans (FAISS's `nprobe`)."""
    rerank: int = Field(default=10, ge=1)
    """Candidates re-ranked for each result."""


@dataclass(frozen=True)
class Quantizer:
    """The trained part of a code index: the change of axes, the codebook and the lists' centroids."""

    axes: AxisTransform
    empty_index: Any
    """A trained FAISS index that holds no vector."""

    @classmethod
    def train(cls, pictures: NDArray[np.float16], texts: Floats, lists: int, scheme: Scheme = "rabitq") -> Quantizer:
        """Train on pictures float16 [n, d] and sample queries [m, d]. With one list, every code is scanned.

        The same input gives the same quantizer: seeds are fixed, and one thread sums in a fixed order.
        """
        import faiss
        import numpy as np

        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)
        try:
            axes = fit_axes(pictures.astype(np.float32), texts)
            transformed = axes.transform_pictures(pictures)
            return cls(axes, _train_flat(transformed, scheme) if lists == 1 else _train_inverted(transformed, lists))
        finally:
            faiss.omp_set_num_threads(threads)

    def save(self, folder: Path) -> None:
        """Write the folder that `open` reads."""
        import faiss

        folder.mkdir(parents=True, exist_ok=True)
        self.axes.save(folder / "axes.npz")
        faiss.write_index(self.empty_index, str(folder / "empty.faiss"))

    @classmethod
    def open(cls, folder: Path) -> Quantizer:
        """Read the folder that `save` wrote."""
        import faiss

        return cls(AxisTransform.open(folder / "axes.npz"), faiss.read_index(str(folder / "empty.faiss")))

    def error(self, blocks: Iterable[NDArray[np.float16]]) -> float:
        """Mean squared distance to the nearest list's centroid: what codes must describe. It grows as a corpus drifts.

        `blocks` are float16 [n, d].
        """
        import numpy as np

        centroids = _centroids(self.empty_index)
        total, count = 0.0, 0
        for block in blocks:
            vectors = self.axes.transform_pictures(block)
            products = vectors @ centroids.T
            squares = (vectors**2).sum(axis=1) - (2 * products - (centroids**2).sum(axis=1)).max(axis=1)
            total, count = total + float(np.sum(squares, dtype=np.float64)), count + len(block)
        return total / max(1, count)


class CodeIndex:
    """Coded vectors. Candidates are numbered as in `Vectors`, whatever the order in which shards were coded."""

    def __init__(self, quantizer: Quantizer, coded: Any, parameters: SearchParameters | None = None) -> None:
        self.axes = quantizer.axes
        self.faiss = coded
        self.parameters = parameters or SearchParameters()
        self.vector_numbers: Numbers | None = None
        """Number of the i-th coded vector; None where that is i."""
        self._centroids = _centroids(coded)

    @classmethod
    def empty(cls, quantizer: Quantizer) -> CodeIndex:
        """An index without vectors, to be filled by `add`."""
        return cls(quantizer, _copied(quantizer.empty_index))

    @classmethod
    def open(cls, quantizer: Quantizer, path: Path, parameters: SearchParameters | None = None) -> CodeIndex:
        """Open a file that `save` wrote; inverted lists are memory-mapped."""
        import faiss

        return cls(quantizer, faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC), parameters)

    @classmethod
    def copy(cls, quantizer: Quantizer, path: Path) -> CodeIndex:
        """Read a file that `save` wrote into memory, so that `add` can extend it."""
        import faiss

        return cls(quantizer, faiss.read_index(str(path)))

    def save(self, path: Path) -> None:
        import faiss

        faiss.write_index(self.faiss, str(path))

    def __len__(self) -> int:
        return int(self.faiss.ntotal)

    @property
    def lists(self) -> int:
        """Number of inverted lists; 1 where every code is scanned."""
        return len(self._centroids)

    def add(self, vectors: NDArray[np.float16]) -> None:
        """Code float16 [n, d]."""
        for start in range(0, len(vectors), _BLOCK):
            self.faiss.add(self.axes.transform_pictures(vectors[start : start + _BLOCK]))

    def with_parameters(self, parameters: SearchParameters) -> CodeIndex:
        """The same codes, searched with other parameters."""
        other = CodeIndex.__new__(CodeIndex)
        other.__dict__ = self.__dict__ | {"parameters": parameters}
        return other

    def set_vector_numbers(self, numbers: Numbers | None) -> CodeIndex:
        """Set the numbers int64 [n] of the coded vectors and return this index."""
        self.vector_numbers = numbers
        return self

    def candidates(self, queries: Floats, count: int) -> Numbers:
        """Numbers [q, count] of the most promising vectors, best first; -1 where there are no more."""
        import numpy as np

        transformed = np.ascontiguousarray(self.axes.transform_queries(queries))
        count = min(count, len(self))
        search = self._search_lists if self.lists > 1 else self.faiss.search
        _, positions = search(transformed, count)
        if self.vector_numbers is None:
            return positions
        return np.where(positions < 0, -1, self.vector_numbers[positions])

    def _search_lists(self, queries: Floats, count: int) -> tuple[Floats, Numbers]:
        """Scores and positions [q, count].

        Lists are ranked by the product with their centroids, not by distance: texts are far from every centroid.
        """
        import numpy as np

        products = queries @ self._centroids.T
        probes = min(self.parameters.probes, self.lists)
        nearest = np.argsort(-products, axis=1, kind="stable")[:, :probes]
        self.faiss.nprobe = probes
        scores = np.take_along_axis(products, nearest, axis=1)
        candidates: tuple[Floats, Numbers] = self.faiss.search_preassigned(queries, count, nearest, scores)
        return candidates


def _train_flat(vectors: Floats, scheme: Scheme) -> Any:
    import faiss

    size = vectors.shape[1]
    key = f"PQ{size // 4}x4fs" if scheme == "pq" and size % 4 == 0 else "RaBitQfs"
    index = faiss.index_factory(size, key, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    return index


def _train_inverted(vectors: Floats, lists: int) -> Any:
    import faiss
    import numpy as np

    size = vectors.shape[1]
    kmeans = faiss.Kmeans(size, lists, niter=10, seed=SEED, max_points_per_centroid=_SAMPLES_PER_LIST)
    kmeans.train(vectors)
    centroids = faiss.IndexFlatL2(size)
    centroids.add(np.asarray(kmeans.centroids))
    index = faiss.IndexIVFRaBitQFastScan(centroids, size, lists, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    return _copied(index)  # the copy owns its centroids


def _centroids(index: Any) -> Floats:
    """float32 [lists, d]; the origin alone where there are no lists."""
    import faiss
    import numpy as np

    if not isinstance(index, faiss.IndexIVF):
        return np.zeros((1, index.d), np.float32)
    quantizer = faiss.downcast_index(index.quantizer)
    centroids: Floats = quantizer.reconstruct_n(0, quantizer.ntotal)
    return centroids


def _copied(index: Any) -> Any:
    import faiss

    return faiss.deserialize_index(faiss.serialize_index(index))
