"""An open, built corpus: search for pictures by text, read their bytes by key, and read their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Protocol

from pydantic import Field

from tasks.corpora.sample import Location, Sample
from tasks.corpora.spool import read_to_disk
from tasks.corpora.table import SampleTable
from tasks.records.picture import Picture
from tasks.retrieval.captions import CaptionIndex, fuse_rankings
from tasks.retrieval.clip import Clip, Embedder
from tasks.retrieval.filters import Filter
from tasks.retrieval.index import Exact, Index, IndexConfig
from tasks.retrieval.queries import QuerySet
from tasks.settings.base import Settings
from tasks.settings.errors import UserError
from tasks.settings.fingerprint import NotFingerprinted

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from tasks.retrieval.vectors import Flags, Floats, Numbers

FUSED = 50
"""Results taken from each ranking before fusion."""


class RetrievalConfig(Settings):
    """How a corpus is embedded, indexed and searched."""

    clip: Clip = Clip()
    """The model that embeds pictures and queries."""
    index: IndexConfig = Exact()
    """Exact, or faster and measured; `auto` chooses by size."""
    near_duplicate: float = Field(default=0.98, gt=0, le=1)
    """Cosine above which two pictures are near-duplicates: only the better one is a result."""
    overfetch: int = Field(default=4, ge=1)
    """Candidates fetched at first for each result; more are fetched where near-duplicates take up places."""
    only: Filter = Filter()
    """A filter on all searches in this corpus."""
    fusion: bool = False
    """Fuse the ranking by vectors with a keyword ranking of captions (BM25): for charts and pictures of text."""
    queries: Annotated[tuple[str, ...], NotFingerprinted] = ()
    """Files of real queries (text, one a line, or the Parquet of a 3-search stage; `*` matches), on which a code index
    is tuned and measured in addition to captions. The texts enter the index's fingerprint; the files' addresses do
    not."""

    def query_set(self) -> QuerySet:
        """The real queries. UserError where a file cannot be read."""
        return QuerySet.read(self.queries)


class PictureReader(Protocol):
    """Reads pictures' bytes back: a corpus, or several combined."""

    def pictures(self, wanted: Sequence[Location]) -> list[Picture]: ...


@dataclass(frozen=True)
class Hit:
    """One result of a query."""

    key: str
    score: float
    """Cosine of the query's and the picture's vectors."""


@dataclass(frozen=True)
class IndexedSamples:
    """The rows of a corpus with the index over their vectors."""

    table: pa.Table
    """All rows (`Sample`), masked ones with a reason."""
    index: Index
    vector_rows: Numbers
    """Row of each vector, ascending."""
    embedder: str
    """Fingerprint of the model that made the vectors."""


class SearchableCorpus:
    """The corpus that the Searcher's queries search.

    Opening it reads the row table and maps the index; the first query loads the embedding model.
    """

    def __init__(self, config: RetrievalConfig, corpus: PictureReader, indexed: IndexedSamples) -> None:
        self.config = config
        self.corpus = corpus
        self.samples = indexed.table
        self.rows = SampleTable(indexed.table)
        self.index = indexed.index
        self.vector_rows = indexed.vector_rows
        self._fingerprint = indexed.embedder
        self._filtered: dict[Filter, Flags] = {}

    def __len__(self) -> int:
        """Number of pictures that can be found."""
        return len(self.index)

    def search(self, queries: Sequence[str], k: int, only: Filter | None = None) -> list[list[Hit]]:
        """For each query up to k pictures, best first, without near-duplicates.

        Results pass `only` and the configured filter.
        """
        if not queries:
            return []
        near, overfetch = self.config.near_duplicate, self.config.overfetch
        allowed, embedded = self._allowed(only or Filter()), self._embedder.embed_queries(queries)
        if self.config.fusion:
            results = [self._fused(text, vector, k, allowed) for text, vector in zip(queries, embedded, strict=True)]
        else:
            results = self.index.search_distinct(embedded, k, near, overfetch, allowed)
        keys = iter(self._keys([number for hits in results for number, _ in hits]))
        return [[Hit(next(keys), score) for _, score in hits] for hits in results]

    def pictures(self, keys: Sequence[str]) -> list[Picture]:
        """The originals in the order of the keys, their bytes on disk. UserError for an unknown or unserved key."""
        return read_to_disk(self.corpus.pictures, self.rows.locate(keys))

    def embeddings(self, keys: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors [n, d] of pictures that can be found. UserError for any other key."""
        import numpy as np

        numbers = [self._number(key) for key in keys]
        if None in numbers:
            raise UserError(f"no picture {keys[numbers.index(None)]} in the index of this corpus.")
        return self.index.vectors.take(np.array(numbers, np.int64)).astype(np.float32)

    def sample(self, key: str) -> Sample:
        """The row of a picture. UserError where the key is unknown, or with the reason why it is not served."""
        return self.rows.sample(key)

    def findable(self, column: str) -> pa.ChunkedArray:
        """A column of `samples`, for the pictures that can be found."""
        import pyarrow.compute as pc

        return self.samples[column].filter(pc.is_null(self.samples["reason"]))

    def _fused(self, text: str, vector: Floats, k: int, allowed: Flags | None) -> list[tuple[int, float]]:
        """Up to k (number, cosine) in the order of the fused ranking."""
        import numpy as np

        _, (by_vector,) = self.index.search(vector[None], FUSED, allowed)
        by_words = [number for number in self._captions.search(text, FUSED) if allowed is None or allowed[number]]
        order = np.array(fuse_rankings([by_vector[by_vector >= 0].tolist(), by_words]), np.int64)
        return self.index.distinct(self.index.vectors.score(vector, order), order, k, self.config.near_duplicate)

    def _allowed(self, only: Filter) -> Flags | None:
        """Flags of the vectors that pass both filters; None where neither filter excludes anything."""
        import numpy as np

        flags = [self._passed(condition) for condition in (self.config.only, only) if not condition.passes_all]
        return np.logical_and.reduce(flags) if flags else None

    def _passed(self, only: Filter) -> Flags:
        if only not in self._filtered:
            self._filtered = {only: only.passed(self.samples)[self.vector_rows]}
        return self._filtered[only]

    def _keys(self, numbers: Sequence[int]) -> list[str]:
        return self.samples["key"].take(self.vector_rows[list(numbers)]).to_pylist()  # type: ignore[no-any-return]

    def _number(self, key: str) -> int | None:
        """Number of the picture's vector; None for a picture that cannot be found."""
        import numpy as np

        row = self.rows.number(key)
        if row is None:
            return None
        number = int(np.searchsorted(self.vector_rows, row))
        has_vector = number < len(self.vector_rows) and self.vector_rows[number] == row
        return number if has_vector and (self.index.served is None or self.index.served[number]) else None

    @cached_property
    def _captions(self) -> CaptionIndex:
        """The captions of the pictures that can be found."""
        served = self.index.served
        captions = self.samples["caption"].take(self.vector_rows).to_pylist()
        usable = (pair for pair in enumerate(captions) if pair[1] and (served is None or served[pair[0]]))
        return CaptionIndex(usable)

    @cached_property
    def _embedder(self) -> Embedder:
        """The model that embedded the corpus. UserError where the configured model is another one."""
        embedder = self.config.clip.open()
        if embedder.space.fingerprint != self._fingerprint:
            raise UserError(f"the corpus was embedded by another model than {self.config.clip.model}: build it again.")
        return embedder
