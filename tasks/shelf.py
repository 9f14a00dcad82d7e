"""A built corpus as the input of a stage: what is in it, and how it is searched."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict

from tasks.config import RunConfig
from tasks.corpora.sample import Sample
from tasks.index import build_corpus, built_index, corpus_place, open_library, place_of
from tasks.retrieval.library import Library, LibraryConfig
from tasks.store import Artifact, Store


class Shelf(BaseModel):
    """Enters a stage's identity by the index's contents, not by where it lies."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    index: Artifact[Sample]
    retrieval: LibraryConfig

    @classmethod
    def stock(cls, store: Store, config: RunConfig) -> Self:
        """The corpus that the run names, built or brought up to date where it says of what. UserError where none is."""
        corpus, retrieval = config.corpus, config.retrieval
        place = place_of(store, corpus.at)
        if corpus.source is not None:
            return cls(index=build_corpus(place, corpus.source, retrieval, corpus.at_once), retrieval=retrieval)
        return cls(index=built_index(place), retrieval=retrieval)

    def open(self) -> Library:
        """The library of these pictures, also where the corpus has grown since. UserError where it is another now."""
        return open_library(corpus_place(self.index.uri.rpartition("/")[0]), self.retrieval, self.index)
