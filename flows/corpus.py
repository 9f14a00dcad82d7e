"""A corpus made searchable, and asked: shards -> embeddings -> index.

`active-zero corpus build | info | query | image` and the flow that a deployment runs. Each function takes the corpus's
address: `<store>/corpora/<name>`, or any other folder or URL.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prefect import flow
from pydantic import BaseModel, ConfigDict

from tasks.corpora import Corpus, CorpusConfig, Folder, Laion
from tasks.corpora.decode import EXTENSIONS
from tasks.corpora.sample import Sample
from tasks.index import build_corpus, built_index, corpus_place, open_library
from tasks.retrieval import Hit, LibraryConfig
from tasks.store import Artifact


class Info(BaseModel):
    """What a built corpus holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str
    rows: int
    counters: dict[str, int]
    """Rows by reason; the index's recall on texts and on pictures."""
    fingerprint: str
    bytes: int
    """Of the index and the rows."""


@flow(name="corpus", persist_result=False)
def build(uri: str, corpus: CorpusConfig, library: LibraryConfig) -> Artifact[Sample]:
    """Shards, then rows and embeddings shard by shard, then the index. What is complete already is reused."""
    return build_corpus(corpus_place(uri), corpus, library)


def source(shards: str) -> Corpus:
    """What a person means by an address: tar shards, or else a local folder of image files."""
    folder = Path(shards.removeprefix("file://")).expanduser()
    loose = folder.is_dir() and not any(folder.glob("*.tar"))
    if loose and any(file.suffix.lower().removeprefix(".") in EXTENSIONS for file in folder.rglob("*")):
        return Folder(path=shards)
    return Laion(shards=shards)


def info(uri: str) -> Info:
    """What was built at `uri`. UserError where nothing is."""
    index = built_index(corpus_place(uri))
    size = sum(file.size for file in index.manifest.files)
    return Info(uri=uri, rows=index.rows, counters=index.counters, fingerprint=index.fingerprint, bytes=size)


def query(uri: str, texts: Sequence[str], k: int = 5) -> list[list[Hit]]:
    """The k best pictures for each text."""
    return open_library(corpus_place(uri)).search(texts, k)


def image(uri: str, key: str) -> bytes:
    """A picture's original bytes. UserError for a key that is unknown or not served."""
    (picture,) = open_library(corpus_place(uri)).pictures([key])
    return picture.data
