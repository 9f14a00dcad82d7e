"""The corpus's vectors where they lie: one float16 file a shard, memory-mapped, read as one array.

They are the only copy, and the truth: an index holds codes that say where to look, and every score that leaves this
folder is the inner product with these vectors, summed in one order, so that it does not depend on what else was asked
in the same batch, on the device, or on the index.
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
"""Candidates beyond k: a matrix product rounds otherwise than `Vectors.score`, and may order near-equals otherwise."""
_TO_CONVERT = 1024
"""Rows made float32 at once on a CPU: they stay in its cache, which is ten times as fast as in memory."""
_TO_RANK = 1 << 14
_ON_GPU = 1 << 18
_QUERIES = 256


class Vectors:
    """float16 [n, d] of unit length, in parts one after the other."""

    def __init__(self, parts: Sequence[NDArray[np.float16]]) -> None:
        import numpy as np

        self.parts = [part for part in parts if len(part)]
        self.starts: Numbers = np.cumsum([0, *map(len, self.parts)], dtype=np.int64)
        self.dimensions = int(self.parts[0].shape[1]) if self.parts else 0
        self._resident: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}

    @classmethod
    def open(cls, files: Sequence[Path]) -> Vectors:
        """The arrays of `.npy` files, mapped: they are read as they are needed."""
        import numpy as np

        return cls([np.load(file, mmap_mode="r") for file in files])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def take(self, numbers: Numbers) -> NDArray[np.float16]:
        """float16 [m, d] of the vectors with these numbers."""
        import numpy as np

        if len(self.parts) == 1:
            return self.parts[0][numbers]
        found = np.empty((len(numbers), self.dimensions), np.float16)
        holders = np.searchsorted(self.starts, numbers, side="right") - 1
        for part in np.unique(holders):
            mine = holders == part
            found[mine] = self.parts[part][numbers[mine] - self.starts[part]]
        return found

    def picked(self, numbers: Numbers) -> Any:
        """Stands for the array of the vectors with these numbers: rows are read as they are asked for."""
        return _Picked(self, numbers)

    def blocks(self, rows: int, served: Flags | None = None) -> Iterator[tuple[Numbers, NDArray[np.float16]]]:
        """(numbers, float16 [at most `rows`, d]) over all vectors, or those that are `served`, in order."""
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
        """Inner products of one query with the vectors of these numbers, each summed for itself."""
        import torch

        vectors = torch.from_numpy(self.take(numbers)).float().numpy()  # ten times as fast as numpy's conversion
        found: Floats = (vectors * query).sum(axis=1)
        return found

    def ranked(self, query: Floats, numbers: Numbers, most: int | None = None) -> tuple[Floats, Numbers]:
        """Scores and numbers, best first; of equals the lower number first."""
        import numpy as np

        scores = self.score(query, numbers)
        order = np.lexsort((numbers, -scores))[:most]
        return scores[order], numbers[order]

    def nearest(
        self, queries: Floats, k: int, served: Flags | None = None, device: str = "cpu"
    ) -> tuple[Floats, Numbers]:
        """Scores and numbers [q, k] of the best vectors of all, or of those that are `served`; -1 beyond their end.

        Every vector is compared, a block at a time, so memory holds a block and not the corpus.
        """
        import numpy as np

        scores = np.full((len(queries), k), -np.inf, np.float32)
        numbers = np.full((len(queries), k), -1, np.int64)
        for start in range(0, len(queries), _QUERIES):
            for row, found in enumerate(self._candidates(queries[start : start + _QUERIES], k + SPARE, served, device)):
                best, which = self.ranked(queries[start + row], found[found >= 0], k)
                scores[start + row, : len(best)], numbers[start + row, : len(best)] = best, which
        return scores, numbers

    def _candidates(self, queries: Floats, k: int, served: Flags | None, device: str) -> Numbers:
        """Numbers [q, k] of the best by a matrix product, in any order; -1 beyond their end."""
        import torch

        asked = torch.from_numpy(queries).to(device)
        scores = torch.full((len(queries), k), -torch.inf, device=device)
        numbers = torch.full((len(queries), k), -1, dtype=torch.int64, device=device)
        for held, block in self._on(device, served):
            both = torch.cat([scores, _products(asked, block)], dim=1)
            all_numbers = torch.cat([numbers, held.expand(len(queries), -1)], dim=1)
            scores, places = torch.topk(both, k, sorted=False)
            numbers = torch.gather(all_numbers, 1, places)
        return torch.where(scores == -torch.inf, -1, numbers).cpu().numpy()

    def _on(self, device: str, served: Flags | None) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Blocks as tensors. A GPU keeps them all, so that the next query finds them there."""
        import torch

        if device == "cpu":
            for numbers, block in self.blocks(_TO_RANK, served):
                yield torch.from_numpy(numbers), torch.from_numpy(_writable(block))
            return
        if device not in self._resident:
            blocks = self.blocks(_ON_GPU)
            held = [(torch.from_numpy(n).to(device), torch.from_numpy(_writable(v)).to(device)) for n, v in blocks]
            self._resident[device] = held
        for known, vectors in self._resident[device]:
            kept = None if served is None else torch.from_numpy(served[known[0].item() : known[-1].item() + 1])
            yield (known, vectors) if kept is None else (known[kept.to(device)], vectors[kept.to(device)])


@dataclass(frozen=True)
class _Picked:
    vectors: Vectors
    numbers: Numbers

    def __getitem__(self, rows: Numbers) -> NDArray[np.float16]:
        return self.vectors.take(self.numbers[rows])


def device_for(wanted: str, vectors: Vectors) -> str:
    """`auto` takes a GPU that has room for all vectors and a third more, else the CPU."""
    import torch

    device = device_of(wanted)
    if wanted != "auto" or device == "cpu":
        return device
    free, _ = torch.cuda.mem_get_info()
    return "cuda" if 2 * len(vectors) * vectors.dimensions * 4 / 3 < free else "cpu"


def _products(queries: torch.Tensor, block: torch.Tensor) -> torch.Tensor:
    """float32 [q, rows]."""
    import torch

    if queries.is_cuda:
        return queries @ block.float().T
    out = torch.empty(len(queries), len(block))
    for start in range(0, len(block), _TO_CONVERT):
        out[:, start : start + _TO_CONVERT] = queries @ block[start : start + _TO_CONVERT].float().T
    return out


def _writable(block: NDArray[np.float16]) -> NDArray[np.float16]:
    """Torch warns of arrays that cannot be written to, as mapped ones are; a block is small."""
    return block if block.flags.writeable else block.copy()
