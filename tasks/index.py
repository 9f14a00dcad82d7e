"""Index a corpus: all rows under masks, codes where there are too many vectors to compare, and the measured recall.

    corpora/<name>/quantizer/    the trained quantizer of a code index; absent where the index is exact
    corpora/<name>/index/        all rows, masked; for a code index also the codes and its search parameters

Vector i of the index is the i-th vector of all parts (a part is one shard's rows and vectors), in the order of the
shards' names; `rows.npy` gives its row. Searches read the parts' own float16 files: nothing is copied. Masked vectors
are coded too, so changed masks need no new codes.

Added shards are coded with the quantizer that the store holds. When that is done, and when the quantizer is trained
again, is the decision table in `tasks/retrieval/index_plan.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict

from tasks.corpora.masks import Blocklist, Masks, apply_masks, group_near_duplicates
from tasks.corpora.sample import Sample, count_reasons
from tasks.execution.stage import stage, workspace
from tasks.records import Row
from tasks.retrieval.clip import Clip
from tasks.retrieval.codes import CodeIndex, Quantizer, Scheme, SearchParameters
from tasks.retrieval.index import IVF, Chosen, Exact, Index, IndexConfig, Scan, choose
from tasks.retrieval.index_plan import IndexPlan, StoredIndex, plan_after_low_recall, plan_index
from tasks.retrieval.queries import QuerySet
from tasks.retrieval.searchable_corpus import IndexedSamples, RetrievalConfig
from tasks.retrieval.tuning import (
    TOP_K,
    RecallBelowTarget,
    RecallEstimate,
    TextSplit,
    measure_recall,
    median_latency,
    tune,
)
from tasks.retrieval.vectors import Vectors
from tasks.settings.base import Frozen
from tasks.settings.errors import UserError
from tasks.settings.fingerprint import NotFingerprinted, digest
from tasks.store import Artifact, Output, Place

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from tasks.store.manifest import Manifest

log = logging.getLogger(__name__)

VECTORS = "embeddings.npy"
ROWS = "rows.npy"
CODES = "codes.faiss"
SEARCH = "search.json"
RECALL_QUERIES = 500
"""Most texts of each source that an index is tuned on, and most that it is measured on."""
_BLOCK = 1 << 14
"""Vectors coded at a time, and most vectors that drift is measured on."""
_OPEN_AT_ONCE = 16


class QuantizerTraining(Row):
    """The data that a quantizer was trained on, and its error."""

    vectors: int
    texts: int
    error: float
    """Mean squared distance to the nearest list's centroid, in the changed axes."""


class QuantizerSettings(Frozen):
    """What decides a quantizer, apart from the parts that it is trained on."""

    lists: int
    scheme: Scheme
    embedder: str
    """Fingerprint of the model that made the vectors."""
    queries: QuerySet


class IndexSettings(Frozen):
    """What decides an index, apart from the parts and their codes."""

    index: Chosen
    masks: Masks
    blocklist: Blocklist
    queries: QuerySet


class ShardCodes(Frozen):
    """The quantizer that codes an index's shards, and the order in which they are coded."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    quantizer: Artifact[QuantizerTraining]
    order: tuple[str, ...]
    """All shards by name."""
    earlier: Annotated[Artifact[Sample] | None, NotFingerprinted] = None
    """An index of the first `kept` shards in `order`, whose codes are copied."""
    kept: Annotated[int, NotFingerprinted] = 0


class CodeIndexSettings(Frozen):
    """How the codes of an index are read; a file of the index's artifact."""

    parameters: SearchParameters
    order: tuple[str, ...]
    """Shards in the order of their codes."""


@stage("quantizer", QuantizerTraining, version=2)
def train_quantizer(
    place: Place,
    settings: QuantizerSettings,
    parts: tuple[Artifact[Sample], ...],
    *,
    clip: Annotated[Clip, NotFingerprinted],
) -> Output[QuantizerTraining]:
    """Fit the change of axes and the lists' centroids to an even sample of vectors, captions and queries."""
    vectors = vectors_of(parts)
    sample = _evenly_sampled(vectors, max(_BLOCK, 64 * settings.lists))
    texts = [*TextSplit.of(settings.queries.texts, RECALL_QUERIES).train, *_split_captions(parts).train]
    quantizer = Quantizer.train(sample, clip.open().embed_texts(texts), settings.lists, settings.scheme)
    quantizer.save(workspace() / "quantizer")
    row = QuantizerTraining(vectors=len(sample), texts=len(texts), error=quantizer.error([sample]))
    return Output([row], {"lists": settings.lists}, {"quantizer": workspace() / "quantizer"})


@stage("index", Sample, version=4)
def build_index(
    place: Place,
    settings: IndexSettings,
    embedder: str,
    parts: tuple[Artifact[Sample], ...],
    codes: ShardCodes | None,
    *,
    clip: Annotated[Clip, NotFingerprinted],
) -> Output[Sample]:
    """All parts' rows with masks and near-duplicate groups, the codes if any, and the recall on texts.

    UserError where no picture is usable; RecallBelowTarget where a code index finds too little.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    raw = pa.concat_tables(part.table() for part in parts)
    table = apply_masks(raw, settings.masks, settings.blocklist)
    counts = count_reasons(table["reason"].to_pylist())
    rows = np.flatnonzero(pc.is_null(raw["reason"]).to_numpy())
    served = pc.is_null(table["reason"]).to_numpy()[rows]
    if not served.any():
        raise UserError(f"no usable picture in this corpus: {counts}.")
    vectors = vectors_of(parts)
    table = group_near_duplicates(table, vectors.subset(np.flatnonzero(served)), settings.masks)
    np.save(workspace() / ROWS, rows)
    index, files = Index(vectors, served), {ROWS: workspace() / ROWS}
    texts = _EmbeddedTexts.of(table["caption"].take(rows[served]), settings.queries, clip)
    if not isinstance(settings.index, Exact) and codes is not None:
        index.codes = _tuned_codes(index, settings.index, codes, parts, texts)
        files |= _save_codes(index.codes, codes.order)
        parameters = index.codes.parameters
        counts |= {"lists": index.codes.lists, "probes": parameters.probes, "rerank": parameters.rerank}
    counts |= {"near-duplicates": len(table) - table["group"].null_count, "dimensions": vectors.dimensions}
    return Output(table, counts | _measure(index, texts, settings.index), files)


def index_parts(
    place: Place, masks: Masks, retrieval: RetrievalConfig, parts: Mapping[str, Artifact[Sample]]
) -> Artifact[Sample]:
    """Build or reuse the index over parts, ordered by the shards' names, so that added shards lie where a rebuild puts
    them."""
    by_name = {name: parts[name] for name in sorted(parts)}
    space = retrieval.clip.space
    config = choose(retrieval.index, _count_vectors(by_name.values()), space.dimensions)
    if not isinstance(config, Exact) and _are_equal(vectors_of(tuple(by_name.values()))):
        config = Exact()  # there are no axes to fit codes to
    settings = IndexSettings(index=config, masks=masks, blocklist=masks.blocked(), queries=retrieval.query_set())
    if isinstance(config, Exact):
        return build_index(place, settings, space.fingerprint, tuple(by_name.values()), None, clip=retrieval.clip)
    return _CodeIndexBuild(place, settings, config, retrieval.clip, by_name).run()


@dataclass(frozen=True)
class _Stored:
    """What the store holds, and the artifacts behind it."""

    state: StoredIndex
    quantizer: Artifact[QuantizerTraining] | None = None
    index: Artifact[Sample] | None = None
    """The index whose codes the plan may keep."""


@dataclass(frozen=True)
class _CodeIndexBuild:
    """Looks at the store, plans a code index and builds it."""

    place: Place
    settings: IndexSettings
    config: Scan | IVF
    clip: Clip
    parts: Mapping[str, Artifact[Sample]]
    """By the shards' names, sorted."""

    def run(self) -> Artifact[Sample]:
        """The index, built by the decision table in `index_plan`."""
        stored = self._inspect()
        plan = plan_index(stored.state)
        try:
            return self._carry_out(plan, stored)
        except RecallBelowTarget as error:
            retry = plan_after_low_recall(stored.state, plan)
            if retry is None:
                raise
            log.warning("the quantizer is trained again: with that of the first shards, %s", error)
        return self._carry_out(retry, stored)

    def _inspect(self) -> _Stored:
        shards, manifest = tuple(self.parts), self.place.manifest(train_quantizer.name)
        if manifest is None:
            return _Stored(StoredIndex(shards, "none"))
        trained = self._trained_parts(manifest)
        if trained is None:
            return _Stored(StoredIndex(shards, "mismatched"))
        quantizer = self._train(trained)  # reused, or made again where its files are damaged
        drifted = self._drifted(quantizer, [part for name, part in self.parts.items() if name not in trained])
        index = None if drifted else self._index_coded_by(quantizer)
        coded = _read_settings(index).order if index else ()
        return _Stored(StoredIndex(shards, "matching", frozenset(trained), drifted, coded), quantizer, index)

    def _carry_out(self, plan: IndexPlan, stored: _Stored) -> Artifact[Sample]:
        quantizer = self._train(self.parts) if plan.train or stored.quantizer is None else stored.quantizer
        earlier = stored.index if plan.kept else None
        codes = ShardCodes(quantizer=quantizer, order=plan.order, earlier=earlier, kept=plan.kept)
        parts, embedder = tuple(self.parts.values()), self.clip.space.fingerprint
        return build_index(self.place, self.settings, embedder, parts, codes, clip=self.clip)

    def _train(self, parts: Mapping[str, Artifact[Sample]]) -> Artifact[QuantizerTraining]:
        chosen = tuple(parts.values())
        return train_quantizer(self.place, self._quantizer_settings(chosen), chosen, clip=self.clip)

    def _quantizer_settings(self, parts: Sequence[Artifact[Sample]]) -> QuantizerSettings:
        return QuantizerSettings(
            lists=self.config.lists_for(_count_vectors(parts)),
            scheme=self.config.codes,
            embedder=self.clip.space.fingerprint,
            queries=self.settings.queries,
        )

    def _trained_parts(self, manifest: Manifest) -> dict[str, Artifact[Sample]] | None:
        """The parts that the quantizer in the store was trained on; None where its settings or parts differ."""
        trained_on = set(_part_ids(manifest))
        trained = {name: part for name, part in self.parts.items() if part.content_id in trained_on}
        chosen = tuple(trained.values())
        wanted = train_quantizer.fingerprinted(self.place, self._quantizer_settings(chosen), chosen, clip=self.clip)
        matches = len(trained) == len(trained_on) and digest(wanted) == manifest.fingerprint
        return trained if matches else None

    def _drifted(self, quantizer: Artifact[QuantizerTraining], added: Sequence[Artifact[Sample]]) -> bool:
        if not _count_vectors(added):
            return False
        trained, (row,) = Quantizer.open(quantizer.folder("quantizer")), quantizer.read()
        growth = trained.error([_evenly_sampled(vectors_of(added), _BLOCK)]) / row.error - 1
        if growth > self.config.drift:
            log.warning("the quantizer is trained again: its error on added shards is %.0f %% larger", 100 * growth)
        return growth > self.config.drift

    def _index_coded_by(self, quantizer: Artifact[QuantizerTraining]) -> Artifact[Sample] | None:
        """The index in the store whose codes this quantizer made, if its shards are all still there, unchanged."""
        index = self.place.find(build_index.name, Sample)
        if index is None or not _has_codes(index) or _quantizer_id(index) != quantizer.content_id:
            return None
        order = _read_settings(index).order
        unchanged = set(order) <= set(self.parts) and _made_of(index, [self.parts[name] for name in order])
        return index if unchanged else None


def open_index(
    place: Place, index: Artifact[Sample], parts: Mapping[str, Artifact[Sample]], config: IndexConfig
) -> IndexedSamples:
    """The index with its vectors and codes memory-mapped. UserError where a shard was embedded again or replaced."""
    import numpy as np
    import pyarrow.compute as pc

    if len(parts) != len(_part_ids(index.manifest)) or not _made_of(index, parts.values()):
        raise UserError(
            f"shards of {index.uri.rpartition('/')[0]} were embedded again or replaced since its index was made: play"
            " the round again, or build the corpus again."
        )
    table = index.table()
    rows = np.load(index.file(ROWS), mmap_mode="r")
    served = pc.is_null(table["reason"]).to_numpy()[rows]
    vectors = vectors_of([parts[name] for name in sorted(parts)])
    codes = _open_codes(place, index, parts) if _has_codes(index) else None
    device = config.device if isinstance(config, Exact) else "auto"
    opened = Index(vectors, served, codes, _groups(table, rows), device)
    return IndexedSamples(table, opened, rows, str(index.manifest.fingerprinted["embedder"]))


def parts_in(index: Artifact[Sample], parts: Mapping[str, Artifact[Sample]]) -> dict[str, Artifact[Sample]]:
    """The parts that the index was made of, without those of shards that were added later."""
    made_of = set(_part_ids(index.manifest))
    return {name: part for name, part in parts.items() if part.content_id in made_of}


def vectors_of(parts: Sequence[Artifact[Sample]]) -> Vectors:
    """The parts' vectors as one memory-mapped array; files of an object store are fetched side by side."""
    with ThreadPoolExecutor(_OPEN_AT_ONCE) as pool:
        return Vectors.open(list(pool.map(lambda part: part.file(VECTORS), parts)))


# Codes --------------------------------------------------------------------------------------------------------------


def _tuned_codes(
    index: Index, config: Scan | IVF, codes: ShardCodes, parts: Sequence[Artifact[Sample]], texts: _EmbeddedTexts
) -> CodeIndex:
    index.codes = _code_shards(codes, {_shard_name(part): part for part in parts})
    return index.codes.with_parameters(tune(index, texts.tune, config.target, config.rerank))


def _code_shards(codes: ShardCodes, parts: Mapping[str, Artifact[Sample]]) -> CodeIndex:
    """The codes of all shards; those of the first `kept` shards are copied."""
    quantizer = Quantizer.open(codes.quantizer.folder("quantizer"))
    coded = CodeIndex.copy(quantizer, codes.earlier.file(CODES)) if codes.earlier else CodeIndex.empty(quantizer)
    for name in codes.order[codes.kept :]:
        for _, block in vectors_of([parts[name]]).blocks(_BLOCK):
            coded.add(block)
    return coded.set_vector_numbers(_vector_numbers(parts, codes.order))


def _save_codes(codes: CodeIndex, order: tuple[str, ...]) -> dict[str, Path]:
    settings = CodeIndexSettings(parameters=codes.parameters, order=order)
    (workspace() / SEARCH).write_text(settings.model_dump_json())
    codes.save(workspace() / CODES)
    return {name: workspace() / name for name in (SEARCH, CODES)}


def _open_codes(place: Place, index: Artifact[Sample], parts: Mapping[str, Artifact[Sample]]) -> CodeIndex:
    quantizer = place.find(train_quantizer.name, QuantizerTraining)
    if quantizer is None or quantizer.content_id != _quantizer_id(index):
        raise UserError(f"the quantizer of {index.uri} is gone or was trained again: build the corpus again.")
    settings, trained = _read_settings(index), Quantizer.open(quantizer.folder("quantizer"))
    opened = CodeIndex.open(trained, index.file(CODES), settings.parameters)
    return opened.set_vector_numbers(_vector_numbers(parts, settings.order))


def _vector_numbers(parts: Mapping[str, Artifact[Sample]], order: Sequence[str]) -> NDArray[np.int64] | None:
    """The number of each coded vector; None where the shards were coded in the order of their names."""
    import numpy as np

    names = sorted(parts)
    if list(order) == sorted(order):
        return None
    starts = dict(zip(names, np.cumsum([0, *(_count_vectors([parts[name]]) for name in names)]), strict=False))
    numbers: NDArray[np.int64] = np.concatenate(
        [starts[name] + np.arange(_count_vectors([parts[name]])) for name in order]
    )
    return numbers


# Recall -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _EmbeddedTexts:
    """Text queries as vectors: those to tune on, and captions and real queries to measure on."""

    tune: NDArray[np.float32]
    captions: NDArray[np.float32]
    queries: NDArray[np.float32]

    @classmethod
    def of(cls, captions: pa.ChunkedArray, queries: QuerySet, clip: Clip) -> _EmbeddedTexts:
        by_caption = TextSplit.of(_present(captions), RECALL_QUERIES)
        by_query = TextSplit.of(queries.texts, RECALL_QUERIES)
        embed = clip.open().embed_texts
        return cls(embed([*by_caption.tune, *by_query.tune]), embed(by_caption.measure), embed(by_query.measure))


def _measure(index: Index, texts: _EmbeddedTexts, config: Exact | Scan | IVF) -> dict[str, int]:
    """Recall in 1/10 000 on each kind of queries, and latency in microseconds. Raises RecallBelowTarget."""
    import numpy as np

    kept = np.flatnonzero(np.ones(len(index.vectors), bool) if index.served is None else index.served)
    pictures = index.vectors.take(kept[:: max(1, len(kept) // RECALL_QUERIES)][:RECALL_QUERIES]).astype(np.float32)
    kinds = {"text": texts.captions, "searcher": texts.queries, "image": pictures}
    recalls = {kind: measure_recall(index, queries) for kind, queries in kinds.items() if len(queries)}
    if not isinstance(config, Exact):
        for kind in ("text", "searcher"):
            _require_recall(config.target, kind, recalls.get(kind))
    timed = texts.captions if len(texts.captions) else pictures
    counts = {f"{kind} recall@{TOP_K} /10000": round(10_000 * found.recall) for kind, found in recalls.items()}
    queries = {"recall queries": len(texts.captions) + len(texts.queries)}
    return counts | queries | {"latency us": round(1e6 * median_latency(index, timed))}


def _require_recall(target: float, kind: str, measured: RecallEstimate | None) -> None:
    if measured is not None and measured.recall < target:
        raise RecallBelowTarget(
            f"the index reaches a {kind} recall@{TOP_K} of {measured.recall:.3f} (of {measured.queries} queries), less"
            f" than its target of {target:g}: raise retrieval.index.rerank, or lower retrieval.index.target."
        )


# Parts and manifests ------------------------------------------------------------------------------------------------


def _groups(table: pa.Table, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each vector the row of the first picture of its near-duplicate group: its own row for most."""
    import numpy as np
    import pyarrow.compute as pc

    first_rows: NDArray[np.int64] = np.arange(len(table))
    later = np.flatnonzero(pc.is_valid(table["group"]).to_numpy())
    firsts = pc.index_in(table["group"].take(later), value_set=table["key"].combine_chunks())
    first_rows[later] = firsts.to_numpy()
    return first_rows[rows]


def _split_captions(parts: Sequence[Artifact[Sample]]) -> TextSplit:
    def captions() -> Iterator[str]:
        for part in parts:
            yield from _present(part.table()["caption"])

    return TextSplit.of(captions(), RECALL_QUERIES)


def _present(captions: pa.ChunkedArray) -> list[str]:
    return [caption for caption in captions.to_pylist() if caption]


def _are_equal(vectors: Vectors) -> bool:
    sample = _evenly_sampled(vectors, _BLOCK)
    return bool((sample == sample[:1]).all())


def _evenly_sampled(vectors: Vectors, limit: int) -> NDArray[np.float16]:
    """At most `limit` vectors, evenly spread."""
    import numpy as np

    return vectors.take(np.arange(0, len(vectors), -(-len(vectors) // limit)))


def _count_vectors(parts: Iterable[Artifact[Sample]]) -> int:
    return sum(part.counters.get("kept", 0) for part in parts)


def _shard_name(part: Artifact[Sample]) -> str:
    shard: Any = part.manifest.fingerprinted["shard"]
    return str(shard["name"])


def _has_codes(index: Artifact[Sample]) -> bool:
    return any(file.name == CODES for file in index.manifest.files)


def _read_settings(index: Artifact[Sample]) -> CodeIndexSettings:
    return CodeIndexSettings.model_validate_json(index.file(SEARCH).read_text())


def _quantizer_id(index: Artifact[Sample]) -> str | None:
    """Content id of the quantizer that made an index's codes; None for an index of an older version."""
    codes = index.manifest.fingerprinted.get("codes")
    return str(codes["quantizer"]) if isinstance(codes, dict) else None


def _made_of(index: Artifact[Sample], parts: Iterable[Artifact[Sample]]) -> bool:
    """Whether the index was made of these very parts, and perhaps of others."""
    made_of = set(_part_ids(index.manifest))
    return all(part.content_id in made_of for part in parts)


def _part_ids(manifest: Manifest) -> list[str]:
    """Content ids of the parts that a quantizer or an index was made of."""
    parts = manifest.fingerprinted.get("parts")
    return [str(part) for part in parts] if isinstance(parts, list) else []
