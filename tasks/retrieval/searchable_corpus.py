"""A built corpus, opened: pictures by text, by key, and their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Protocol

from pydantic import Field

from tasks.corpora.sample import Location, Sample
from tasks.corpora.table import SampleTable
from tasks.records.prompt import Picture
from tasks.retrieval.captions import Captions, fused
from tasks.retrieval.clip import Clip, Embedder
from tasks.retrieval.filters import Filter
from tasks.retrieval.index import Exact, Index, IndexConfig
from tasks.retrieval.queries import Asked
from tasks.settings.base import Settings
from tasks.settings.errors import UserError
from tasks.settings.fingerprint import NotFingerprinted

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from tasks.retrieval.vectors import Flags, Floats, Numbers

FUSED = 50
"""Results of each ranking that are fused."""


class RetrievalConfig(Settings):
    """How a corpus is embedded, indexed and searched."""

    clip: Clip = Clip()
    """The model that embeds pictures and queries."""
    index: IndexConfig = Exact()
    """Exact, or faster and measured; `auto` chooses by size."""
    near_duplicate: float = Field(default=0.98, gt=0, le=1)
    """Of two results whose pictures have a cosine above this, only the better one is given."""
    overfetch: int = Field(default=4, ge=1)
    """Candidates fetched for each result at first; more follow where duplicates take them up."""
    only: Filter = Filter()
    """What else may not be found."""
    fusion: bool = False
    """Fuse the ranking by vectors with one by the captions' words (BM25): for charts and pictures of text."""
    queries: Annotated[tuple[str, ...], NotFingerprinted] = ()
    """Files of real queries (text, one a line, or a 3-search stage's Parquet; `*` matches), on which an index of codes
    is tuned and measured beside captions. Their texts enter the index's fingerprinted, not where they lie."""

    def asked(self) -> Asked:
        """The real queries. UserError where a file cannot be read."""
        return Asked.read(self.queries)


class Pictures(Protocol):
    """Where bytes are read back from: a corpus, or several."""

    def pictures(self, wanted: Sequence[Location]) -> list[Picture]: ...


@dataclass(frozen=True)
class Hit:
    """One result of a query."""

    key: str
    score: float
    """Cosine of the query's and the picture's vectors."""


class SearchableCorpus:
    """What the Searcher searches. Opening it reads the row table and maps the index; the first query loads the model.

    `samples` are all rows of the corpus; vector i of `index` belongs to row `places[i]`, in ascending order.
    """

    def __init__(
        self, config: RetrievalConfig, corpus: Pictures, samples: pa.Table, index: Index, places: Numbers, embedder: str
    ) -> None:
        self.config = config
        self.corpus = corpus
        self.samples = samples
        self.rows = SampleTable(samples)
        self.index = index
        self.places = places
        self._fingerprint = embedder
        self._filtered: dict[Filter, Flags] = {}

    def __len__(self) -> int:
        """Pictures that can be found."""
        return len(self.index)

    def search(self, queries: Sequence[str], k: int, only: Filter | None = None) -> list[list[Hit]]:
        """For each query up to k pictures, best first, none of them a near-duplicate of another.

        `only` is asked for beside the library's own filter.
        """
        if not queries:
            return []
        near, overfetch = self.config.near_duplicate, self.config.overfetch
        allowed, embedded = self._allowed(only or Filter()), self._embedder.embed_queries(queries)
        if self.config.fusion:
            found = [self._fused(text, vector, k, allowed) for text, vector in zip(queries, embedded, strict=True)]
        else:
            found = self.index.search_distinct(embedded, k, near, overfetch, allowed)
        keys = iter(self._keys([number for hits in found for number, _ in hits]))
        return [[Hit(next(keys), score) for _, score in hits] for hits in found]

    def pictures(self, keys: Sequence[str]) -> list[Picture]:
        """The original bytes, in the keys' order. UserError for a key that is unknown or not served."""
        return self.corpus.pictures(self.rows.locate(keys))

    def embeddings(self, keys: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors [n, d] of pictures that can be found. UserError for any other key."""
        import numpy as np

        numbers = [self._number(key) for key in keys]
        if None in numbers:
            raise UserError(f"no picture {keys[numbers.index(None)]} in the index of this corpus.")
        return self.index.vectors.take(np.array(numbers, np.int64)).astype(np.float32)

    def sample(self, key: str) -> Sample:
        """The row of a picture that is served. UserError with the reason where it is not, or where there is none."""
        return self.rows.sample(key)

    def findable(self, column: str) -> pa.ChunkedArray:
        """A column of `samples`, of the pictures that can be found."""
        import pyarrow.compute as pc

        return self.samples[column].filter(pc.is_null(self.samples["reason"]))

    def _fused(self, text: str, vector: Floats, k: int, allowed: Flags | None) -> list[tuple[int, float]]:
        """Up to k (number, cosine) in the order of both rankings together."""
        import numpy as np

        _, (by_vector,) = self.index.search(vector[None], FUSED, allowed)
        by_words = [number for number in self._captions.search(text, FUSED) if allowed is None or allowed[number]]
        order = np.array(fused([by_vector[by_vector >= 0].tolist(), by_words]), np.int64)
        return self.index.distinct(self.index.vectors.score(vector, order), order, k, self.config.near_duplicate)

    def _allowed(self, only: Filter) -> Flags | None:
        """Flags of the vectors that pass the filters; None where there is nothing to pass."""
        import numpy as np

        flags = [self._passed(one) for one in (self.config.only, only) if not one.passes_all]
        return np.logical_and.reduce(flags) if flags else None

    def _passed(self, only: Filter) -> Flags:
        if only not in self._filtered:
            self._filtered = {only: only.passed(self.samples)[self.places]}
        return self._filtered[only]

    def _keys(self, numbers: Sequence[int]) -> list[str]:
        return self.samples["key"].take(self.places[list(numbers)]).to_pylist()  # type: ignore[no-any-return]

    def _number(self, key: str) -> int | None:
        """The number of a picture that can be found."""
        import numpy as np

        row = self.rows.number(key)
        if row is None:
            return None
        number = int(np.searchsorted(self.places, row))
        held = number < len(self.places) and self.places[number] == row
        return number if held and (self.index.served is None or self.index.served[number]) else None

    @cached_property
    def _captions(self) -> Captions:
        """Of the pictures that can be found."""
        served = self.index.served
        captions = self.samples["caption"].take(self.places).to_pylist()
        usable = (pair for pair in enumerate(captions) if pair[1] and (served is None or served[pair[0]]))
        return Captions(usable)

    @cached_property
    def _embedder(self) -> Embedder:
        """The model that the corpus was embedded by, and no other."""
        embedder = self.config.clip.open()
        if embedder.space.fingerprint != self._fingerprint:
            raise UserError(f"the corpus was embedded by another model than {self.config.clip.model}: build it again.")
        return embedder
