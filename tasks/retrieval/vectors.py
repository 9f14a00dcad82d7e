"""A corpus's embedding vectors: one float16 file a shard, memory-mapped, read as one array.

These files are the only copy of the vectors. A code index only proposes candidates; every score that the package
returns is the inner product with these vectors, summed in one order. So a score does not depend on the other queries of
the batch, on the device, or on the index.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.execution.device import device_of

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Numbers = NDArray[np.int64]
    Flags = NDArray[np.bool_]

SPARE = 16
"""Candidates beyond k: a matrix product rounds differently from `Vectors.score` and may reorder near-ties."""
_CONVERTED_ROWS = 1024
"""Rows converted to float32 at a time on a CPU: they stay in its cache, which is ten times as fast as main memory."""
_CPU_BLOCK = 1 << 14
_GPU_BLOCK = 1 << 18
_QUERIES = 256


class Vectors:
    """float16 [n, d] of unit length, in several arrays one after the other."""

    def __init__(self, parts: Sequence[NDArray[np.float16]]) -> None:
        import numpy as np

        self.parts = [part for part in parts if len(part)]
        self.starts: Numbers = np.cumsum([0, *map(len, self.parts)], dtype=np.int64)
        self.dimensions = int(self.parts[0].shape[1]) if self.parts else 0
        self._resident: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}

    @classmethod
    def open(cls, files: Sequence[Path]) -> Vectors:
        """Memory-map the arrays of `.npy` files: rows are read when they are used."""
        import numpy as np

        return cls([np.load(file, mmap_mode="r") for file in files])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def take(self, numbers: Numbers) -> NDArray[np.float16]:
        """float16 [m, d] of the vectors with these numbers."""
        import numpy as np

        if len(self.parts) == 1:
            return self.parts[0][numbers]
        vectors = np.empty((len(numbers), self.dimensions), np.float16)
        part_of = np.searchsorted(self.starts, numbers, side="right") - 1
        for part in np.unique(part_of):
            in_part = part_of == part
            vectors[in_part] = self.parts[part][numbers[in_part] - self.starts[part]]
        return vectors

    def subset(self, numbers: Numbers) -> Any:
        """An array-like of the vectors with these numbers; rows are read when it is indexed."""
        return _VectorSubset(self, numbers)

    def blocks(self, rows: int, served: Flags | None = None) -> Iterator[tuple[Numbers, NDArray[np.float16]]]:
        """Numbers and float16 [at most `rows`, d] of all vectors, or of the `served` ones, in order."""
        import numpy as np

        for start, part in zip(self.starts, self.parts, strict=False):
            for row in range(0, len(part), rows):
                block = part[row : row + rows]
                numbers = np.arange(start + row, start + row + len(block))
                if served is None or served[numbers].all():
                    yield numbers, block
                elif served[numbers].any():
                    yield numbers[served[numbers]], block[served[numbers]]

    def score(self, query: Floats, numbers: Numbers) -> Floats:
        """Inner products of one query with the vectors of these numbers, each summed separately."""
        import torch

        vectors = torch.from_numpy(self.take(numbers)).float().numpy()  # ten times as fast as numpy's conversion
        scores: Floats = (vectors * query).sum(axis=1)
        return scores

    def ranked(self, query: Floats, numbers: Numbers, limit: int | None = None) -> tuple[Floats, Numbers]:
        """Scores and numbers of the best `limit` vectors, best first; ties by number."""
        import numpy as np

        scores = self.score(query, numbers)
        order = np.lexsort((numbers, -scores))[:limit]
        return scores[order], numbers[order]

    def nearest(
        self, queries: Floats, k: int, served: Flags | None = None, device: str = "cpu"
    ) -> tuple[Floats, Numbers]:
        """Scores and numbers [q, k] of the best of all vectors, or of the `served` ones; -1 where there are no more.

        Every vector is compared, a block at a time, so memory holds one block and not the corpus.
        """
        import numpy as np

        scores = np.full((len(queries), k), -np.inf, np.float32)
        numbers = np.full((len(queries), k), -1, np.int64)
        for start in range(0, len(queries), _QUERIES):
            for row, near in enumerate(self._candidates(queries[start : start + _QUERIES], k + SPARE, served, device)):
                best_scores, best = self.ranked(queries[start + row], near[near >= 0], k)
                scores[start + row, : len(best)], numbers[start + row, : len(best)] = best_scores, best
        return scores, numbers

    def _candidates(self, queries: Floats, k: int, served: Flags | None, device: str) -> Numbers:
        """Numbers [q, k] of the best by a matrix product, in any order; -1 where there are no more."""
        import torch

        on_device = torch.from_numpy(queries).to(device)
        scores = torch.full((len(queries), k), -torch.inf, device=device)
        numbers = torch.full((len(queries), k), -1, dtype=torch.int64, device=device)
        for block_numbers, block in self._blocks_on(device, served):
            all_scores = torch.cat([scores, _products(on_device, block)], dim=1)
            all_numbers = torch.cat([numbers, block_numbers.expand(len(queries), -1)], dim=1)
            scores, columns = torch.topk(all_scores, k, sorted=False)
            numbers = torch.gather(all_numbers, 1, columns)
        return torch.where(scores == -torch.inf, -1, numbers).cpu().numpy()

    def _blocks_on(self, device: str, served: Flags | None) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Numbers and vectors of each block as tensors. A GPU keeps all blocks for the next query."""
        import torch

        if device == "cpu":
            for numbers, block in self.blocks(_CPU_BLOCK, served):
                yield torch.from_numpy(numbers), torch.from_numpy(_writable(block))
            return
        if device not in self._resident:
            blocks = self.blocks(_GPU_BLOCK)
            tensors = [(torch.from_numpy(n).to(device), torch.from_numpy(_writable(v)).to(device)) for n, v in blocks]
            self._resident[device] = tensors
        for block_numbers, vectors in self._resident[device]:
            if served is None:
                yield block_numbers, vectors
            else:
                first, last = block_numbers[0].item(), block_numbers[-1].item()
                kept = torch.from_numpy(served[first : last + 1]).to(device)
                yield block_numbers[kept], vectors[kept]


@dataclass(frozen=True)
class _VectorSubset:
    """Some of the vectors, indexed by their position among them."""

    vectors: Vectors
    numbers: Numbers

    def __getitem__(self, rows: Numbers) -> NDArray[np.float16]:
        return self.vectors.take(self.numbers[rows])


def device_for(wanted: str, vectors: Vectors) -> str:
    """The device to search on. `auto` takes a GPU with memory for all vectors and a third more, else the CPU."""
    import torch

    device = device_of(wanted)
    if wanted != "auto" or device == "cpu":
        return device
    free, _ = torch.cuda.mem_get_info()
    return "cuda" if 2 * len(vectors) * vectors.dimensions * 4 / 3 < free else "cpu"


def _products(queries: torch.Tensor, block: torch.Tensor) -> torch.Tensor:
    """Inner products float32 [q, rows] of queries and a block of vectors."""
    import torch

    if queries.is_cuda:
        return queries @ block.float().T
    out = torch.empty(len(queries), len(block))
    for start in range(0, len(block), _CONVERTED_ROWS):
        out[:, start : start + _CONVERTED_ROWS] = queries @ block[start : start + _CONVERTED_ROWS].float().T
    return out


def _writable(block: NDArray[np.float16]) -> NDArray[np.float16]:
    """The block, copied where it is read-only (memory-mapped): torch warns about such arrays, and a block is small."""
    return block if block.flags.writeable else block.copy()
