"""A built corpus, opened: pictures by text, by key, and their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from pydantic import BaseModel, ConfigDict, Field

from tasks.corpora.sample import Location, Sample
from tasks.corpora.table import Rows
from tasks.errors import UserError
from tasks.prompt import Picture
from tasks.retrieval.clip import Clip, Embedder
from tasks.retrieval.index import Exact, Index, IndexConfig

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

_CACHED_TEXTS = 1 << 16


class LibraryConfig(BaseModel):
    """How a corpus is embedded, indexed and searched."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    clip: Clip = Clip()
    """The model that embeds pictures and queries."""
    index: IndexConfig = Exact()
    """Exact, or faster and measured."""
    near_duplicate: float = Field(default=0.98, gt=0, le=1)
    """Of two results whose pictures have a cosine above this, only the better one is given."""
    overfetch: int = Field(default=4, ge=1)
    """Candidates fetched for each result at first; more follow where duplicates take them up."""


class Pictures(Protocol):
    """Where bytes are read back from: a corpus, or several."""

    def pictures(self, wanted: Sequence[Location]) -> list[Picture]: ...


@dataclass(frozen=True)
class Hit:
    """One result of a query."""

    key: str
    score: float
    """Cosine of the query's and the picture's vectors."""


class Library:
    """What the Searcher searches. Opening it reads the row table and maps the index; the first query loads the model.

    `samples` are all rows of the corpus; vector i of `index` belongs to the i-th row without a `reason`.
    """

    def __init__(self, config: LibraryConfig, corpus: Pictures, samples: pa.Table, index: Index, embedder: str) -> None:
        self.config = config
        self.corpus = corpus
        self.samples = samples
        self.rows = Rows(samples)
        self.index = index
        self._fingerprint = embedder
        self._texts: dict[str, NDArray[np.float32]] = {}

    def __len__(self) -> int:
        """Pictures that can be found."""
        return len(self.index)

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query up to k pictures, best first, none of them a near-duplicate of another."""
        if not queries:
            return []
        near, overfetch = self.config.near_duplicate, self.config.overfetch
        found = self.index.search_distinct(self._embedded(queries), k, near, overfetch)
        return [[Hit(self._keys[number], score) for number, score in hits] for hits in found]

    def pictures(self, keys: Sequence[str]) -> list[Picture]:
        """The original bytes, in the keys' order. UserError for a key that is unknown or not served."""
        return self.corpus.pictures(self.rows.locate(keys))

    def embeddings(self, keys: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors [n, d] of pictures that can be found. UserError for any other key."""
        import numpy as np

        unknown = [key for key in keys if key not in self._numbers]
        if unknown:
            raise UserError(f"no picture {unknown[0]} in the index of this corpus.")
        return self.index.vectors(np.array([self._numbers[key] for key in keys], np.int64))

    def sample(self, key: str) -> Sample:
        """The row of a picture that is served. UserError with the reason where it is not, or where there is none."""
        return self.rows.sample(key)

    def _embedded(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """float32 [q, d]; each text is embedded once."""
        import numpy as np

        if len(self._texts) + len(queries) > _CACHED_TEXTS:
            self._texts.clear()
        new = [text for text in dict.fromkeys(queries) if text not in self._texts]
        self._texts |= dict(zip(new, self._embedder.embed_texts(new), strict=True))
        return np.stack([self._texts[text] for text in queries])

    @cached_property
    def _embedder(self) -> Embedder:
        """The model that the corpus was embedded by, and no other."""
        embedder = self.config.clip.open()
        if embedder.fingerprint != self._fingerprint:
            raise UserError(f"the corpus was embedded by another model than {self.config.clip.model}: build it again.")
        return embedder

    @cached_property
    def _keys(self) -> list[str]:
        """Keys by the index's numbers."""
        import pyarrow.compute as pc

        return self.samples.filter(pc.is_null(self.samples["reason"]))["key"].to_pylist()  # type: ignore[no-any-return]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {key: number for number, key in enumerate(self._keys)}
