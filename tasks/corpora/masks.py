"""What of a corpus is used: thresholds, blocklists, and one of several equal pictures. Nothing is deleted.

Masks are laid over the rows when the index is built, after the pictures were embedded, so that another threshold costs
no embedding.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tasks.corpora.groups import MOST_BITS, first_alike
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
    """Pictures that are left out although they can be decoded. A figure that is not known masks nothing."""

    max_unsafe: Share | None = 0.5
    """Most `punsafe` (LAION's probability of being not safe for work)."""
    max_watermark: Share | None = 0.8
    """Most `pwatermark`."""
    min_similarity: float | None = Field(default=None, ge=-1, le=1)
    """Least `similarity` of picture and caption."""
    min_side: int = Field(default=8, ge=1)
    """Least shorter side, in pixels."""
    max_aspect: float = Field(default=100, ge=1)
    """Most times that one side is as long as the other. Qwen's processor refuses more than 200."""
    alike_bits: int = Field(default=6, ge=0, le=MOST_BITS)
    """Pictures whose perceptual hashes differ in at most so many of 64 bits form a group, if their embeddings agree."""
    alike_cosine: float = Field(default=0.98, gt=0, le=1)
    """Cosine above which embeddings agree. 1 makes no groups."""
    blocklists: Annotated[tuple[str, ...], NotFingerprinted] = ()
    """Text files (paths or fsspec URLs), one key, uid, URL or sha256 a line, `#` before a remark. Their contents enter
    the index's fingerprinted, not where they lie."""

    def blocked(self) -> Blocklist:
        """All entries of the blocklists. UserError where one cannot be read."""
        return Blocklist(frozenset(entry for url in self.blocklists for entry in _entries(url)))


@dataclass(frozen=True)
class Blocklist:
    """Keys, uids, URLs and sha256 of pictures that must not be used."""

    entries: frozenset[str] = frozenset()

    @property
    def content_id(self) -> str:
        """As part of an index's fingerprinted."""
        return f"sha256:{digest(self.entries)}"


def masked(rows: pa.Table, masks: Masks, blocked: Blocklist) -> pa.Table:
    """Rows of `Sample`s with a reason for each that is not to be used; of equal pictures the first is kept."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    found: dict[int, list[str]] = defaultdict(list)
    usable = pc.is_null(rows["reason"]).to_numpy()
    for hits, worded in _rules(rows, masks, blocked):
        for row in np.flatnonzero(hits & usable):
            found[int(row)].append(worded(int(row)))
    usable[list(found)] = False
    found |= {row: [f"{DUPLICATE} {key}"] for row, key in _repeated(rows, usable).items()}
    reasons = rows["reason"].to_pylist()
    for row, several in found.items():
        reasons[row] = "; ".join(several)
    return rows.set_column(rows.column_names.index("reason"), "reason", pa.array(reasons, pa.string()))


def grouped(rows: pa.Table, vectors: NDArray[np.float16], masks: Masks) -> pa.Table:
    """The rows of `Sample`s with groups of near-duplicates. Vector i belongs to the i-th row without a reason."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    used = np.flatnonzero(pc.is_null(rows["reason"]).to_numpy())
    first = first_alike(rows["phash"].take(used).to_numpy(), vectors, masks.alike_bits, masks.alike_cosine)
    later = np.flatnonzero(first != np.arange(len(first)))
    groups = np.full(len(rows), None, object)
    groups[used[later]] = rows["key"].take(used[first[later]]).to_numpy()
    return rows.set_column(rows.column_names.index("group"), "group", pa.array(groups, pa.string()))


def _rules(rows: pa.Table, masks: Masks, blocked: Blocklist) -> list[tuple[Hits, Callable[[int], str]]]:
    """Which rows each mask hits, and its words for a row."""
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
        rules.append((unsafe > masks.max_unsafe, lambda row: f"unsafe: {unsafe[row]:.3g}"))
    if masks.max_watermark is not None:
        rules.append((watermark > masks.max_watermark, lambda row: f"watermark: {watermark[row]:.3g}"))
    if masks.min_similarity is not None:
        rules.append((similarity < masks.min_similarity, lambda row: f"dissimilar: {similarity[row]:.3g}"))
    return rules


def _numbers(rows: pa.Table, name: str) -> NDArray[np.float64]:
    """A column with NaN, which compares as false, for what is not known."""
    import numpy as np
    import pyarrow as pa

    return rows[name].cast(pa.float64()).to_numpy().astype(np.float64)  # type: ignore[no-any-return]


def _blocked(rows: pa.Table, blocked: Blocklist) -> Hits:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    hits = np.zeros(len(rows), bool)
    entries = pa.array(sorted(blocked.entries), pa.string())
    for name in ("key", "uid", "url", "sha256"):
        hits |= pc.is_in(rows[name], entries).to_numpy()
    return hits


def _repeated(rows: pa.Table, usable: Hits) -> dict[int, str]:
    """Of usable rows with the same bytes all but the first, and the first's key."""
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
