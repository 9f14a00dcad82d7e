"""Vectors as codes of one bit a dimension, scanned all, or in the lists nearest to a query.

Two kinds of code: `rabitq` keeps signs, and a query's products with them are estimated without bias; `pq` keeps, for
each four dimensions, which of 16 points they are nearest to. `rabitq` finds a little more with as few candidates, `pq`
is scanned four times as fast (FAISS 1.15 corrects each of RaBitQ's products in floats), so it wins at equal latency.

Codes only say which vectors are worth reading; scores come from the float16 vectors (`vectors.py`). Shards are coded
one after the other, with what was trained once: a shard that is added later costs its own coding and no other's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from tasks.retrieval.equalize import Equalizer, fit
from tasks.settings.base import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tasks.retrieval.vectors import Floats, Numbers

Scheme = Literal["pq", "rabitq"]
SEED = 1234
_AT_ONCE = 1 << 14
_PER_LIST = 64


class Setting(Settings):
    """How far a query looks: what tuning chose."""

    probes: int = Field(default=1, ge=1)
    """Lists that a query looks into."""
    rerank: int = Field(default=10, ge=1)
    """Candidates re-ranked for each result."""


@dataclass(frozen=True)
class Quantizer:
    """What is trained: the change of axes and, in an index without a vector, the lists' centres."""

    equalizer: Equalizer
    empty: Any
    """A FAISS index with nothing in it."""

    @classmethod
    def train(cls, pictures: NDArray[np.float16], texts: Floats, lists: int, scheme: Scheme = "rabitq") -> Quantizer:
        """From float16 [n, d] and queries [m, d]. One list means that all codes are scanned.

        The same input gives the same quantizer: seeds are fixed, and one thread sums in one order.
        """
        import faiss
        import numpy as np

        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)
        try:
            equalizer = fit(pictures.astype(np.float32), texts)
            changed = equalizer.of_pictures(pictures)
            return cls(equalizer, _flat(changed, scheme) if lists == 1 else _inverted(changed, lists))
        finally:
            faiss.omp_set_num_threads(threads)

    def save(self, folder: Path) -> None:
        """Write what `open` reads."""
        import faiss

        folder.mkdir(parents=True, exist_ok=True)
        self.equalizer.save(folder / "equalizer.npz")
        faiss.write_index(self.empty, str(folder / "empty.faiss"))

    @classmethod
    def open(cls, folder: Path) -> Quantizer:
        """A trained quantizer, to which nothing was added."""
        import faiss

        return cls(Equalizer.open(folder / "equalizer.npz"), faiss.read_index(str(folder / "empty.faiss")))

    def error(self, blocks: Iterable[NDArray[np.float16]]) -> float:
        """Mean squared distance from the nearest list's centre: what codes must tell; it grows as a corpus drifts."""
        import numpy as np

        centres = _centres(self.empty)
        total, count = 0.0, 0
        for block in blocks:
            changed = self.equalizer.of_pictures(block)
            products = changed @ centres.T
            squares = (changed**2).sum(axis=1) - (2 * products - (centres**2).sum(axis=1)).max(axis=1)
            total, count = total + float(np.sum(squares, dtype=np.float64)), count + len(block)
        return total / max(1, count)


class Codes:
    """Coded vectors. Candidate numbers are those of `Vectors`, in whatever order shards were coded."""

    def __init__(self, quantizer: Quantizer, coded: Any, setting: Setting | None = None) -> None:
        self.equalizer = quantizer.equalizer
        self.faiss = coded
        self.setting = setting or Setting()
        self.numbers: Numbers | None = None
        """Number of the i-th coded vector; None where that is i."""
        self._centres = _centres(coded)

    @classmethod
    def empty(cls, quantizer: Quantizer) -> Codes:
        """To be added to."""
        return cls(quantizer, _copied(quantizer.empty))

    @classmethod
    def open(cls, quantizer: Quantizer, path: Path, setting: Setting | None = None) -> Codes:
        """What `save` wrote; lists are memory-mapped."""
        import faiss

        return cls(quantizer, faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC), setting)

    @classmethod
    def copy(cls, quantizer: Quantizer, path: Path) -> Codes:
        """What `save` wrote, in memory, to be added to."""
        import faiss

        return cls(quantizer, faiss.read_index(str(path)))

    def save(self, path: Path) -> None:
        import faiss

        faiss.write_index(self.faiss, str(path))

    def __len__(self) -> int:
        return int(self.faiss.ntotal)

    @property
    def lists(self) -> int:
        """1 where all codes are scanned."""
        return len(self._centres)

    def add(self, vectors: NDArray[np.float16]) -> None:
        """Code float16 [n, d]."""
        for start in range(0, len(vectors), _AT_ONCE):
            self.faiss.add(self.equalizer.of_pictures(vectors[start : start + _AT_ONCE]))

    def with_setting(self, setting: Setting) -> Codes:
        """The same codes, searched otherwise."""
        other = Codes.__new__(Codes)
        other.__dict__ = self.__dict__ | {"setting": setting}
        return other

    def numbered(self, numbers: Numbers | None) -> Codes:
        """The same codes; `numbers` [n] says which vector the i-th is."""
        self.numbers = numbers
        return self

    def candidates(self, queries: Floats, count: int) -> Numbers:
        """Numbers [q, count], the most promising first; -1 beyond their end."""
        import numpy as np

        asked = np.ascontiguousarray(self.equalizer.of_queries(queries))
        count = min(count, len(self))
        _, found = self._in_lists(asked, count) if self.lists > 1 else self.faiss.search(asked, count)
        return found if self.numbers is None else np.where(found < 0, -1, self.numbers[found])

    def _in_lists(self, asked: Floats, count: int) -> tuple[Floats, Numbers]:
        """Lists by the product with their centres, not by distance: texts are far from every centre."""
        import numpy as np

        products = asked @ self._centres.T
        probes = min(self.setting.probes, self.lists)
        near = np.argsort(-products, axis=1, kind="stable")[:, :probes]
        self.faiss.nprobe = probes
        scores = np.take_along_axis(products, near, axis=1)
        found: tuple[Floats, Numbers] = self.faiss.search_preassigned(asked, count, near, scores)
        return found


def _flat(changed: Floats, scheme: Scheme) -> Any:
    import faiss

    size = changed.shape[1]
    key = f"PQ{size // 4}x4fs" if scheme == "pq" and size % 4 == 0 else "RaBitQfs"
    index = faiss.index_factory(size, key, faiss.METRIC_INNER_PRODUCT)
    index.train(changed)
    return index


def _inverted(changed: Floats, lists: int) -> Any:
    import faiss
    import numpy as np

    size = changed.shape[1]
    means = faiss.Kmeans(size, lists, niter=10, seed=SEED, max_points_per_centroid=_PER_LIST)
    means.train(changed)
    centres = faiss.IndexFlatL2(size)
    centres.add(np.asarray(means.centroids))
    index = faiss.IndexIVFRaBitQFastScan(centres, size, lists, faiss.METRIC_INNER_PRODUCT)
    index.train(changed)
    return _copied(index)  # which owns its centres


def _centres(index: Any) -> Floats:
    """float32 [lists, d]; one centre, the origin, where there are no lists."""
    import faiss
    import numpy as np

    if not isinstance(index, faiss.IndexIVF):
        return np.zeros((1, index.d), np.float32)
    quantizer = faiss.downcast_index(index.quantizer)
    found: Floats = quantizer.reconstruct_n(0, quantizer.ntotal)
    return found


def _copied(index: Any) -> Any:
    import faiss

    return faiss.deserialize_index(faiss.serialize_index(index))
