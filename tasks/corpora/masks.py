"""Masks: which decoded pictures are excluded from the index, by thresholds, blocklists and equal bytes.

Nothing is deleted. Masks are applied to the rows when the index is built, after the pictures were embedded, so a new
threshold embeds nothing again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tasks.corpora.near_duplicates import MAX_BITS, group_firsts
from tasks.corpora.sample import DUPLICATE
from tasks.settings.base import Settings
from tasks.settings.errors import UserError, first_line
from tasks.settings.fingerprint import NotFingerprinted, digest

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    Hits = NDArray[np.bool_]

Share = Annotated[float, Field(ge=0, le=1)]


class Masks(Settings):
    """Rules that exclude decoded pictures from the index. A rule does not apply to a picture without its value."""

    max_unsafe: Share | None = 0.5
    """Largest `punsafe` (LAION's probability of being not safe for work). Where a shard's metadata rates its pictures,
    a picture without a row there is excluded too."""
    max_watermark: Share | None = 0.8
    """Largest `pwatermark`."""
    min_similarity: float | None = Field(default=None, ge=-1, le=1)
    """Smallest `similarity` of picture and caption."""
    min_side: int = Field(default=8, ge=1)
    """Smallest length of the shorter side, in pixels."""
    max_aspect: float = Field(default=100, ge=1)
    """Largest ratio of the longer to the shorter side. Qwen's processor refuses more than 200."""
    near_duplicate_bits: int = Field(default=6, ge=0, le=MAX_BITS)
    """Pictures are near-duplicates if their perceptual hashes differ in at most so many of 64 bits and their embeddings
    agree."""
    near_duplicate_cosine: float = Field(default=0.98, gt=0, le=1)
    """Cosine above which embeddings agree. 1 makes no groups."""
    blocklists: Annotated[tuple[str, ...], NotFingerprinted] = ()
    """Text files (paths or fsspec URLs) with one key, uid, URL or sha256 a line; `#` begins a comment. Their contents
    enter the index's fingerprint, their addresses do not."""

    def blocked(self) -> Blocklist:
        """All entries of the blocklists. UserError if a file cannot be read."""
        return Blocklist(frozenset(entry for url in self.blocklists for entry in _entries(url)))


@dataclass(frozen=True)
class Blocklist:
    """Keys, uids, URLs and sha256 of pictures that must not be used."""

    entries: frozenset[str] = frozenset()

    @property
    def content_id(self) -> str:
        """What enters the index's fingerprint."""
        return f"sha256:{digest(self.entries)}"


def apply_masks(rows: pa.Table, masks: Masks, blocked: Blocklist) -> pa.Table:
    """The rows of `Sample`s with a reason for each that is excluded; of equal pictures the first is kept."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    excluded: dict[int, list[str]] = defaultdict(list)
    usable = pc.is_null(rows["reason"]).to_numpy()
    for hits, reason_of in _rules(rows, masks, blocked):
        for row in np.flatnonzero(hits & usable):
            excluded[int(row)].append(reason_of(int(row)))
    usable[list(excluded)] = False
    excluded |= {row: [f"{DUPLICATE} {key}"] for row, key in _repeated(rows, usable).items()}
    reasons = rows["reason"].to_pylist()
    for row, texts in excluded.items():
        reasons[row] = "; ".join(texts)
    return _with_column(rows, "reason", pa.array(reasons, pa.string()))


def group_near_duplicates(rows: pa.Table, vectors: NDArray[np.float16], masks: Masks) -> pa.Table:
    """The rows of `Sample`s with their `group`. Vector i belongs to the i-th row without a reason."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    used = np.flatnonzero(pc.is_null(rows["reason"]).to_numpy())
    hashes = rows["phash"].take(used).to_numpy()
    first = group_firsts(hashes, vectors, masks.near_duplicate_bits, masks.near_duplicate_cosine)
    later = np.flatnonzero(first != np.arange(len(first)))
    groups = np.full(len(rows), None, object)
    groups[used[later]] = rows["key"].take(used[first[later]]).to_numpy()
    return _with_column(rows, "group", pa.array(groups, pa.string()))


def _with_column(rows: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return rows.set_column(rows.column_names.index(name), name, values)


def _rules(rows: pa.Table, masks: Masks, blocked: Blocklist) -> list[tuple[Hits, Callable[[int], str]]]:
    """For each rule the rows that it excludes, and a function from a row number to the reason."""
    import numpy as np

    names = ("punsafe", "pwatermark", "similarity", "width", "height")
    unsafe, watermark, similarity, width, height = (_numbers(rows, name) for name in names)
    rules: list[tuple[Hits, Callable[[int], str]]] = [
        (_blocked(rows, blocked), lambda row: "blocked: on a blocklist"),
        (
            np.minimum(width, height) < masks.min_side,
            lambda row: f"too small: {width[row]:.0f}x{height[row]:.0f}, a side of less than {masks.min_side}",
        ),
        (
            np.maximum(width, height) > masks.max_aspect * np.minimum(width, height),
            lambda row: f"too narrow: {width[row]:.0f}x{height[row]:.0f}",
        ),
    ]
    if masks.max_unsafe is not None:
        unrated = rows["unrated"].to_numpy()
        rules.append((unsafe > masks.max_unsafe, lambda row: f"unsafe: {unsafe[row]:.3g}"))
        rules.append((unrated & np.isnan(unsafe), lambda row: "unsafe: not rated by its shard's metadata"))
    if masks.max_watermark is not None:
        rules.append((watermark > masks.max_watermark, lambda row: f"watermark: {watermark[row]:.3g}"))
    if masks.min_similarity is not None:
        rules.append((similarity < masks.min_similarity, lambda row: f"dissimilar: {similarity[row]:.3g}"))
    return rules


def _numbers(rows: pa.Table, name: str) -> NDArray[np.float64]:
    """A column as numbers; a missing value is NaN, so every comparison with it is false."""
    import numpy as np
    import pyarrow as pa

    return rows[name].cast(pa.float64()).to_numpy().astype(np.float64)  # type: ignore[no-any-return]


def _blocked(rows: pa.Table, blocked: Blocklist) -> Hits:
    """The rows whose key, uid, URL or sha256 is on a blocklist."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    hits = np.zeros(len(rows), bool)
    entries = pa.array(sorted(blocked.entries), pa.string())
    for name in ("key", "uid", "url", "sha256"):
        hits |= pc.is_in(rows[name], entries).to_numpy()
    return hits


def _repeated(rows: pa.Table, usable: Hits) -> dict[int, str]:
    """Usable rows whose bytes equal those of an earlier usable row: row number -> key of the first such row."""
    import numpy as np

    numbers = np.flatnonzero(usable)
    codes = rows["sha256"].take(numbers).combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    originals = numbers[first[inverse]]
    repeated = numbers[originals != numbers]
    keys = rows["key"].take(originals[originals != numbers]).to_pylist()
    return dict(zip(map(int, repeated), keys, strict=True))


def _entries(url: str) -> list[str]:
    import fsspec

    try:
        with fsspec.open(url, "rt", encoding="utf-8") as file:
            lines = [line.partition("#")[0].strip() for line in file]
    except (OSError, ValueError) as error:
        raise UserError(f"the blocklist {url} cannot be read: {first_line(error)}.") from None
    return [line for line in lines if line]
