"""Flows and functions behind `active-zero corpus build | add | info | query | image`.

Each function takes the corpus's address: `<store>/corpora/<name>`, or any other folder or URL.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from prefect import flow
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from tasks.config import RunConfig
from tasks.corpora import CorpusConfig
from tasks.corpora.detect import detect_source
from tasks.corpora.sample import Sample, count_reasons
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
from tasks.settings.base import Frozen
from tasks.settings.errors import UserError
from tasks.store import Artifact


class CorpusInfo(Frozen):
    """Contents of a built corpus."""

    uri: str
    sources: tuple[str, ...]
    """Addresses of the shards."""
    shards: int
    rows: int
    reasons: dict[str, int]
    """Rows by the kind of their reason; `kept` rows are found and served."""
    quarantined: dict[str, str]
    """Shards that could not be read completely, or without their metadata, with the reason."""
    near_duplicates: dict[str, int]
    """Number of near-duplicate groups, and of the pictures in them."""
    sizes: dict[str, int]
    """Bytes of the kept pictures, of the index, and of the rows."""
    counters: dict[str, int]
    """Counters of the index's manifest: rows by reason, recall on texts and on pictures."""
    fingerprint: str
    embedder: str
    """Fingerprint of the model that embedded the pictures."""


def _call(flow: Callable[..., object], *arguments: object) -> object:
    return flow(*arguments)


@flow(name="corpus-build", persist_result=False)
def build(uri: Address, corpus: CorpusConfig, retrieval: RetrievalConfig, at_once: int = AT_ONCE) -> Artifact[Sample]:
    """Build or update the corpus at `uri`: rows and embeddings shard by shard, then the index."""
    with _gpu_per_task(retrieval.clip.device):
        return build_corpus(corpus_place(uri), corpus, retrieval, at_once)


def build_from(shards: str, uri: str, settings: RunConfig, call: Callable[..., object] = _call) -> None:
    """Run `build` with a run's settings; `call` calls the flow. UserError before any work if there are no shards."""
    source = detect_source(shards, settings.corpus.source)
    source.check()
    build_flow = build.with_options(task_runner=runner(settings.runner))
    call(build_flow, uri, source, settings.retrieval, settings.corpus.at_once)


@flow(name="corpus-add", persist_result=False)
def add(uri: Address, corpus: CorpusConfig, at_once: int = AT_ONCE) -> Artifact[Sample]:
    """Add shards to the corpus at `uri`, under its own settings. The corpus's own shards are not read."""
    with _gpu_per_task("auto"):
        return add_to_corpus(corpus_place(uri), corpus, at_once)


def runner(name: Literal["threads", "ray"]) -> TaskRunner[Any]:
    """The task runner for a flow's mapped tasks: `build.with_options(task_runner=runner("ray"))(...)`.

    UserError if Ray is not installed.
    """
    if name == "threads":
        return ThreadPoolTaskRunner()
    try:
        from prefect_ray import RayTaskRunner  # type: ignore[import-untyped]
    except ImportError:
        raise UserError("runner=ray needs Ray: install the extra `ray` (pip install 'active-zero[ray]').") from None
    ray: TaskRunner[Any] = RayTaskRunner()
    return ray


def _gpu_per_task(device: str) -> AbstractContextManager[object]:
    """Request one GPU for each task, if this is a Ray cluster with GPUs and the model may run on one.

    Ray by default ends a worker with a GPU after each task; here the worker stays, with its model loaded.
    """
    ray = sys.modules.get("ray")
    if device == "cpu" or ray is None or not ray.is_initialized() or not ray.cluster_resources().get("GPU"):
        return nullcontext()
    from prefect_ray.context import remote_options  # type: ignore[import-untyped]

    options: AbstractContextManager[object] = remote_options(num_gpus=1, max_calls=0)
    return options


def info(uri: str) -> CorpusInfo:
    """Contents of the corpus at `uri`. UserError if none is built."""
    place = corpus_place(uri)
    index = built_index(place)
    table = index.table().select(["key", "shard", "size", "reason", "group"])
    kept = table.filter(pc.is_null(table["reason"]))
    groups = kept["group"].drop_null()
    sizes = {"pictures": pc.sum(kept["size"]).as_py() or 0}
    for file in index.manifest.files:
        name = "rows" if file.name.startswith("part-") else "index"
        sizes[name] = sizes.get(name, 0) + file.size
    return CorpusInfo(
        uri=uri,
        sources=tuple(source.address for source in sources(place)),
        shards=len(table["shard"].unique()),
        rows=index.rows,
        reasons=count_reasons(table["reason"].to_pylist()),
        quarantined=_quarantined(table),
        near_duplicates={"groups": len(groups.unique()), "pictures": len(groups) + len(groups.unique())},
        sizes=sizes,
        counters=index.counters,
        fingerprint=index.fingerprint,
        embedder=str(index.manifest.fingerprinted["embedder"]),
    )


def _quarantined(table: pa.Table) -> dict[str, str]:
    """Reasons of the rows that stand for a whole shard: their key has no picture."""
    shards = table.filter(pc.ends_with(table["key"], "/"))
    return dict(zip(shards["shard"].to_pylist(), shards["reason"].to_pylist(), strict=True))


def query(
    uri: str, texts: Sequence[str], k: int = 5, only: Filter | None = None, fusion: bool = False
) -> list[list[Hit]]:
    """The k best pictures for each text."""
    return _opened(uri, fusion).search(texts, k, only)


def query_page(uri: str, text: str, k: int = 5, only: Filter | None = None, fusion: bool = False) -> str:
    """The k best pictures for a text as an HTML page."""
    from tasks.reporting.query_page import results_page

    corpus = _opened(uri, fusion)
    (hits,) = corpus.search([text], k, only)
    return results_page(text, uri, corpus, hits)


def _opened(uri: str, fusion: bool) -> SearchableCorpus:
    place = corpus_place(uri)
    config = retrieval_config(place)
    return open_corpus(place, config.model_copy(update={"fusion": config.fusion or fusion}))


def image(uri: str, key: str) -> bytes:
    """A picture's original bytes. UserError for a key that is unknown or not served."""
    (picture,) = open_corpus(corpus_place(uri)).pictures([key])
    return picture.data
