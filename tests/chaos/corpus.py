"""A small corpus that a process of the chaos tests builds, or adds shards to."""

from __future__ import annotations

import open_clip  # noqa: F401  # imported here, before the process forks its children
import pandas  # noqa: F401

from tasks.corpora import LaionCorpus
from tasks.corpus import add_to_corpus, build_corpus
from tasks.retrieval import RetrievalConfig
from tasks.retrieval.clip import Clip
from tasks.store import Place, Store


def play(store: str, run: str, clip: str, shards: str = "", added: str = "") -> None:
    """Build the corpus `run` from `shards`, or add the shards of `added` to it."""
    place = Place(Store(store), f"corpora/{run}")
    if shards:
        build_corpus(place, LaionCorpus(shards=shards), RetrievalConfig(clip=Clip(model=f"local-dir:{clip}")))
    if added:
        add_to_corpus(place, LaionCorpus(shards=added))
