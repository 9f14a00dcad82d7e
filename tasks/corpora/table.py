"""The rows of a corpus, found by key in microseconds.

The rows of a shard are contiguous. So only the first row of each shard is indexed at once, and the keys of a shard at
its first look-up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from tasks.corpora.sample import DUPLICATE, Location, Sample
from tasks.settings.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray


class SampleTable:
    """A table of `Sample`s, sorted by shard."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self._keys: dict[str, dict[str, int]] = {}

    def number(self, key: str) -> int | None:
        """The row number of a key. If several rows have the key, the row that is served: the others have a reason."""
        for shard in _prefixes(key):
            if shard in self._shards:
                return self._in_shard(shard).get(key)
        return None

    def sample(self, key: str) -> Sample:
        """The row of a served picture. UserError if the key is unknown, or with the reason if it is not served."""
        return Sample.model_validate(self.table.slice(self._served(key), 1).to_pylist()[0])

    def locate(self, keys: Sequence[str]) -> list[Location]:
        """Where the pictures lie, in the order of `keys`. UserError for a key that is unknown or not served."""
        if not keys:
            return []
        rows = [self._served(key) for key in keys]
        numbers = (column[rows].tolist() for column in self._location_numbers)
        names = self.table.select(["shard", "member"]).take(rows)
        shards, members = names["shard"].to_pylist(), names["member"].to_pylist()
        return [Location(*fields) for fields in zip(keys, shards, members, *numbers, strict=True)]

    def _served(self, key: str) -> int:
        row = self.number(key)
        if row is None:
            example = f": keys look like {self.table['key'][0]}" if self.table.num_rows else ""
            raise UserError(f"no picture {key} in this corpus{example}.")
        reason = self._reasons[row].as_py()
        if reason and not reason.startswith(DUPLICATE):
            raise UserError(f"picture {key} is not served: {reason}.")
        return row

    def _in_shard(self, shard: str) -> dict[str, int]:
        """Row numbers of a shard by key: the served row, else the first."""
        if shard not in self._keys:
            start, stop = self._shards[shard]
            part = self.table.slice(start, stop - start)
            keys, reasons = part["key"].to_pylist(), part["reason"].to_pylist()
            first = {key: row for row, key in reversed(list(enumerate(keys, start)))}
            rows = zip(range(start, stop), keys, reasons, strict=True)
            self._keys[shard] = first | {key: row for row, key, reason in rows if reason is None}
        return self._keys[shard]

    @cached_property
    def _shards(self) -> dict[str, tuple[int, int]]:
        """First row and end of each shard."""
        import pyarrow.compute as pc

        runs = pc.run_end_encode(self.table["shard"].combine_chunks())
        ends = runs.run_ends.to_pylist()
        return dict(zip(runs.values.to_pylist(), zip([0, *ends], ends, strict=False), strict=True))

    @cached_property
    def _location_numbers(self) -> tuple[NDArray[np.int64], ...]:
        """Offset, size, checksum and orientation of every row."""
        defaults = {"offset": 0, "size": 0, "checksum": 0, "orientation": 1}
        return tuple(self.table[name].fill_null(value).to_numpy() for name, value in defaults.items())

    @cached_property
    def _reasons(self) -> pa.Array:
        return self.table["reason"].combine_chunks()


def _prefixes(key: str) -> Iterator[str]:
    """Possible names of the key's shard, the longest first: names of folders contain slashes."""
    while "/" in key:
        key = key.rpartition("/")[0]
        yield key
