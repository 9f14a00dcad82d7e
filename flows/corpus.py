"""A corpus made searchable, and asked: shards -> embeddings -> index.

`active-zero corpus build | add | info | query | image` and the flows that a deployment runs. Each function takes the
corpus's address: `<store>/corpora/<name>`, or any other folder or URL.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from prefect import flow
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from tasks.config import RunConfig
from tasks.corpora import Corpus, CorpusConfig, FolderCorpus, LaionCorpus
from tasks.corpora.decode import EXTENSIONS
from tasks.corpora.sample import Sample, reasons
from tasks.corpus import (
    AT_ONCE,
    add_to_corpus,
    build_corpus,
    built_index,
    corpus_place,
    open_corpus,
    retrieval_config,
    sources,
)  # fmt: skip
from tasks.retrieval import Hit, RetrievalConfig
from tasks.retrieval.filters import Filter
from tasks.retrieval.searchable_corpus import SearchableCorpus
from tasks.settings.addresses import Address
from tasks.settings.base import Settings
from tasks.settings.errors import UserError
from tasks.store import Artifact


class Info(Settings):
    """What a built corpus holds."""

    uri: str
    sources: tuple[str, ...]
    """Where the shards lie."""
    shards: int
    rows: int
    reasons: dict[str, int]
    """Rows by the kind of what there is against them; `kept` are those that are found and shown."""
    quarantined: dict[str, str]
    """Shards that could not be read to their end, or without their metadata, and why."""
    near_duplicates: dict[str, int]
    """Groups of nearly the same picture, and the pictures in them."""
    sizes: dict[str, int]
    """Bytes: of the pictures kept, of the index, of the rows."""
    counters: dict[str, int]
    """As the index's manifest has them: rows by reason; recall on texts and on pictures."""
    fingerprint: str
    embedder: str
    """Fingerprint of the model that embedded the pictures."""


@flow(name="corpus", persist_result=False)
def build(uri: Address, corpus: CorpusConfig, library: RetrievalConfig, at_once: int = AT_ONCE) -> Artifact[Sample]:
    """Shards, then rows and embeddings shard by shard, then the index. What is complete already is reused."""
    with _equipped(library.clip.device):
        return build_corpus(corpus_place(uri), corpus, library, at_once)


def build_from(shards: str, uri: str, settings: RunConfig) -> None:
    """`build` as a run's settings say. UserError before any work where there is nothing to build from."""
    pictures = source(shards, settings.corpus.source)
    pictures.listing()
    flow_of_shards = build.with_options(task_runner=runner(settings.runner))
    flow_of_shards(uri, pictures, settings.retrieval, settings.corpus.at_once)


@flow(name="corpus-add", persist_result=False)
def add(uri: Address, corpus: CorpusConfig, at_once: int = AT_ONCE) -> Artifact[Sample]:
    """Further shards for the corpus at `uri`, with its own settings; its own shards are not looked at again."""
    with _equipped("auto"):
        return add_to_corpus(corpus_place(uri), corpus, at_once)


def runner(name: Literal["threads", "ray"]) -> TaskRunner[Any]:
    """Where a flow's mapped tasks run: `build.with_options(task_runner=runner("ray"))(...)`.

    UserError where Ray is not installed.
    """
    if name == "threads":
        return ThreadPoolTaskRunner()
    try:
        from prefect_ray import RayTaskRunner  # type: ignore[import-untyped]
    except ImportError:
        raise UserError("runner=ray needs Ray: install the extra `ray` (pip install 'active-zero[ray]').") from None
    ray: TaskRunner[Any] = RayTaskRunner()
    return ray


def _equipped(device: str) -> AbstractContextManager[object]:
    """A GPU for each task of a Ray cluster that has any, unless the model is to run elsewhere.

    Ray ends a worker with a GPU after each task; here it stays, with its model loaded.
    """
    ray = sys.modules.get("ray")
    if device == "cpu" or ray is None or not ray.is_initialized() or not ray.cluster_resources().get("GPU"):
        return nullcontext()
    from prefect_ray.context import remote_options  # type: ignore[import-untyped]

    one_each: AbstractContextManager[object] = remote_options(num_gpus=1, max_calls=0)
    return one_each


def source(shards: str, like: CorpusConfig | None = None, prefix: str = "") -> Corpus:
    """What a person means by an address: tar shards, or else a local folder of image files.

    Limits and masks are those of `like`.
    """
    settings = {} if like is None else {"limits": like.limits, "masks": like.masks}
    folder = Path(shards.removeprefix("file://")).expanduser()
    loose = folder.is_dir() and not any(folder.glob("*.tar"))
    if loose and any(file.suffix.lower().removeprefix(".") in EXTENSIONS for file in folder.rglob("*")):
        return FolderCorpus.model_validate({"path": shards, "prefix": prefix} | settings)
    return LaionCorpus.model_validate({"shards": shards, "prefix": prefix} | settings)


def info(uri: str) -> Info:
    """What was built at `uri`. UserError where nothing is."""
    place = corpus_place(uri)
    index = built_index(place)
    table = index.table().select(["key", "shard", "size", "reason", "group"])
    kept = table.filter(pc.is_null(table["reason"]))
    groups = kept["group"].drop_null()
    sizes = {"pictures": pc.sum(kept["size"]).as_py() or 0}
    for file in index.manifest.files:
        name = "rows" if file.name.startswith("part-") else "index"
        sizes[name] = sizes.get(name, 0) + file.size
    return Info(
        uri=uri,
        sources=tuple(source_address(one) for one in sources(place)),
        shards=len(table["shard"].unique()),
        rows=index.rows,
        reasons=reasons(table["reason"].to_pylist()),
        quarantined=_quarantined(table),
        near_duplicates={"groups": len(groups.unique()), "pictures": len(groups) + len(groups.unique())},
        sizes=sizes,
        counters=index.counters,
        fingerprint=index.fingerprint,
        embedder=str(index.manifest.fingerprinted["embedder"]),
    )


def source_address(corpus: CorpusConfig) -> str:
    """Where a corpus's pictures come from, in a word."""
    match corpus:
        case LaionCorpus():
            return corpus.shards
        case FolderCorpus():
            return corpus.path
    return f"{corpus.pictures} pictures of the micro world"


def _quarantined(table: pa.Table) -> dict[str, str]:
    """Rows whose key names a shard and no picture."""
    shards = table.filter(pc.ends_with(table["key"], "/"))
    return dict(zip(shards["shard"].to_pylist(), shards["reason"].to_pylist(), strict=True))


def query(
    uri: str, texts: Sequence[str], k: int = 5, only: Filter | None = None, fusion: bool = False
) -> list[list[Hit]]:
    """The k best pictures for each text."""
    return _library(uri, fusion).search(texts, k, only)


def sheet(uri: str, text: str, k: int = 5, only: Filter | None = None, fusion: bool = False) -> str:
    """The k best pictures for a text, as a page that a person looks at."""
    from tasks.reporting.sheet import sheet

    library = _library(uri, fusion)
    (hits,) = library.search([text], k, only)
    return sheet(text, uri, library, hits)


def _library(uri: str, fusion: bool) -> SearchableCorpus:
    place = corpus_place(uri)
    config = retrieval_config(place)
    return open_corpus(place, config.model_copy(update={"fusion": config.fusion or fusion}))


def image(uri: str, key: str) -> bytes:
    """A picture's original bytes. UserError for a key that is unknown or not served."""
    (picture,) = open_corpus(corpus_place(uri)).pictures([key])
    return picture.data
