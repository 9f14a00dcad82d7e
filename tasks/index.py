"""One index over a corpus's parts: their rows under masks, codes where there are too many vectors, and its recall.

    corpora/<name>/quantizer/    what codes were trained on the first shards, where the index is none without
    corpora/<name>/index/        all rows, masked; the codes, and how far a query looks into them

Vector i of the index is the i-th of all parts' vectors, parts in the order of their names; `rows.npy` says which row it
belongs to. The parts' own float16 files are what is searched and re-ranked: nothing is copied. Every vector is coded,
also a masked one, so another mask codes nothing again.

Shards that are added are coded with what the first were trained with. Codes are trained again when those of the added
shards err more (`drift`), or when their captions find less than the target.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from tasks.corpora.masks import Blocklist, Masks, grouped, masked
from tasks.corpora.sample import Sample, reasons
from tasks.execution.stage import stage, workspace
from tasks.records import Row
from tasks.retrieval.clip import Clip
from tasks.retrieval.codes import Codes, Quantizer, Scheme, Setting
from tasks.retrieval.index import IVF, Chosen, Exact, Index, IndexConfig, Scan, choose
from tasks.retrieval.queries import Asked
from tasks.retrieval.searchable_corpus import RetrievalConfig
from tasks.retrieval.tuning import AT, Measured, RecallMissed, Texts, latency, measure, tune
from tasks.retrieval.vectors import Vectors
from tasks.settings.base import Frozen
from tasks.settings.errors import UserError
from tasks.settings.fingerprint import NotFingerprinted, digest
from tasks.store import Artifact, Output, Place

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

VECTORS = "embeddings.npy"
ROWS = "rows.npy"
CODES = "codes.faiss"
SETTING = "setting.json"
RECALL_QUERIES = 500
_SAMPLED = 1 << 14
_OPENING = 16


class Trained(Row):
    """What codes were trained on, and how well they tell it."""

    vectors: int
    texts: int
    error: float
    """Mean squared distance from the nearest list's centre, where all axes were changed."""


class Coding(Frozen):
    """How an index's codes are read: attached to it."""

    setting: Setting
    order: tuple[str, ...]
    """Shards in the order in which they were coded."""


@stage("quantizer", Trained, version=2)
def train_quantizer(
    place: Place,
    lists: int,
    scheme: Scheme,
    embedder: str,
    asked: Asked,
    parts: tuple[Artifact[Sample], ...],
    *,
    clip: Annotated[Clip, NotFingerprinted],
) -> Output[Trained]:
    """The change of axes and the lists' centres, from an even sample of the parts' vectors, captions and queries."""
    vectors = vectors_of(parts)
    sample = _sampled(vectors, max(_SAMPLED, 64 * lists))
    texts = [*Texts.divided(asked.texts, RECALL_QUERIES).train, *_captions(parts).train]
    quantizer = Quantizer.train(sample, clip.open().embed_texts(texts), lists, scheme)
    quantizer.save(workspace() / "quantizer")
    row = Trained(vectors=len(sample), texts=len(texts), error=quantizer.error([sample]))
    return Output([row], {"lists": lists}, {"quantizer": workspace() / "quantizer"})


@stage("index", Sample, version=4)
def build_index(
    place: Place,
    config: Chosen,
    masks: Masks,
    blocked: Blocklist,
    embedder: str,
    asked: Asked,
    parts: tuple[Artifact[Sample], ...],
    quantizer: Artifact[Trained] | None,
    order: tuple[str, ...],
    *,
    clip: Annotated[Clip, NotFingerprinted],
    earlier: Annotated[Artifact[Sample] | None, NotFingerprinted] = None,
) -> Output[Sample]:
    """All parts' rows with masks laid over them, codes if there is a quantizer, and how well texts are answered.

    `order` says in which the parts are coded; the codes of `earlier`, which has the first of them, are taken over.
    RecallMissed where texts find less than `config.target`.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    raw = pa.concat_tables(part.table() for part in parts)
    table = masked(raw, masks, blocked)
    counts = reasons(table["reason"].to_pylist())
    rows = np.flatnonzero(pc.is_null(raw["reason"]).to_numpy())
    served = pc.is_null(table["reason"]).to_numpy()[rows]
    if not served.any():
        raise UserError(f"no usable picture in this corpus: {counts}.")
    vectors = vectors_of(parts)
    table = grouped(table, vectors.picked(np.flatnonzero(served)), masks)
    np.save(workspace() / ROWS, rows)
    index, files = Index(vectors, served), {ROWS: workspace() / ROWS}
    texts = _Queries.of(table, rows[served], asked, clip)
    if not isinstance(config, Exact) and quantizer is not None:
        index.codes = _coded(quantizer, parts, order, earlier)
        setting = tune(index, texts.tune, config.target, config.rerank)
        index.codes = index.codes.with_setting(setting)
        coding = Coding(setting=setting, order=order)
        (workspace() / SETTING).write_text(coding.model_dump_json())
        index.codes.save(workspace() / CODES)
        files |= {name: workspace() / name for name in (SETTING, CODES)}
        counts |= {"lists": index.codes.lists, "probes": setting.probes, "rerank": setting.rerank}
    counts |= {"near-duplicates": len(table) - table["group"].null_count, "dimensions": vectors.dimensions}
    return Output(table, counts | _measured(index, texts, config), files)


def index_parts(
    place: Place, masks: Masks, library: RetrievalConfig, parts: Mapping[str, Artifact[Sample]]
) -> Artifact[Sample]:
    """The index over parts in the order of their names, so that shards added later lie where a rebuild puts them."""
    ordered = tuple(parts[name] for name in sorted(parts))
    space = library.clip.space
    config = choose(library.index, sum(map(_vectors_in, ordered)), space.dimensions)
    asked = library.asked()
    if isinstance(config, Exact):
        return build_index(
            place, config, masks, masks.blocked(), space.fingerprint, asked, ordered, None, (), clip=library.clip
        )
    build = _Build(place, config, masks, library.clip, asked, {name: parts[name] for name in sorted(parts)})
    return build.with_standing() or build.trained_again()


@dataclass(frozen=True)
class _Build:
    """An index of codes, with what was trained already or anew."""

    place: Place
    config: Scan | IVF
    masks: Masks
    clip: Clip
    asked: Asked
    parts: Mapping[str, Artifact[Sample]]

    def with_standing(self) -> Artifact[Sample] | None:
        """With the quantizer that is there; None where there is none, or where it no longer does."""
        found = self._standing()
        if found is None:
            return None
        quantizer, trained = found
        added = {name: part for name, part in self.parts.items() if part.content_id not in trained}
        if self._drifted(quantizer, tuple(added.values())):
            return None
        order = (*(name for name in self.parts if name not in added), *added)
        try:
            return self._index(quantizer, self._earlier_order(quantizer) or order)
        except RecallMissed as missed:
            if not added:
                raise
            log.warning("codes are trained again: with those of the first shards %s", missed)
            return None

    def trained_again(self) -> Artifact[Sample]:
        """With a quantizer trained on all parts."""
        return self._index(self._train(tuple(self.parts.values())), tuple(self.parts))

    def _train(self, parts: tuple[Artifact[Sample], ...]) -> Artifact[Trained]:
        lists = self.config.lists_for(sum(map(_vectors_in, parts)))
        return train_quantizer(
            self.place, lists, self.config.codes, self.clip.space.fingerprint, self.asked, parts, clip=self.clip
        )

    def _standing(self) -> tuple[Artifact[Trained], set[str]] | None:
        """What was trained on some of these parts, with these settings; and the fingerprints of those parts."""
        manifest = self.place.manifest(train_quantizer.name)
        if manifest is None:
            return None
        listed = {str(part) for part in _list(manifest.fingerprinted.get("parts"))}
        parts = tuple(part for part in self.parts.values() if part.content_id in listed)
        lists = self.config.lists_for(sum(map(_vectors_in, parts)))
        wanted = train_quantizer.fingerprinted(
            self.place, lists, self.config.codes, self.clip.space.fingerprint, self.asked, parts, clip=self.clip
        )
        if len(parts) != len(listed) or digest(wanted) != manifest.fingerprint:
            return None
        return self._train(parts), listed

    def _drifted(self, quantizer: Artifact[Trained], added: tuple[Artifact[Sample], ...]) -> bool:
        if not sum(map(_vectors_in, added)):
            return False
        opened, (row,) = Quantizer.open(quantizer.folder("quantizer")), quantizer.read()
        growth = opened.error([_sampled(vectors_of(added), _SAMPLED)]) / row.error - 1
        if growth > self.config.drift:
            log.warning("codes are trained again: those of added shards err by %.0f %% more", 100 * growth)
        return growth > self.config.drift

    def _earlier_order(self, quantizer: Artifact[Trained]) -> tuple[str, ...] | None:
        """The order of the index that is there, and what came since; None where its codes cannot be taken over."""
        earlier = self._earlier()
        if earlier is None or earlier.manifest.fingerprinted.get("quantizer") != quantizer.content_id:
            return None
        order = _coding(earlier).order
        if not set(order) <= set(self.parts) or not _same_parts(earlier, self.parts, order):
            return None
        return (*order, *(name for name in self.parts if name not in order))

    def _earlier(self) -> Artifact[Sample] | None:
        found = self.place.find(build_index.name, Sample)
        return found if found and any(file.name == CODES for file in found.manifest.files) else None

    def _index(self, quantizer: Artifact[Trained], order: tuple[str, ...]) -> Artifact[Sample]:
        earlier = self._earlier() if self._earlier_order(quantizer) == order else None
        return build_index(
            self.place, self.config, self.masks, self.masks.blocked(), self.clip.space.fingerprint, self.asked,
            tuple(self.parts.values()), quantizer, order, clip=self.clip, earlier=earlier,
        )  # fmt: skip


@dataclass(frozen=True)
class Opened:
    """An index, and the rows that it is about."""

    table: pa.Table
    index: Index
    places: NDArray[np.int64]
    """Row of each vector."""


def open_index(
    place: Place, index: Artifact[Sample], parts: Mapping[str, Artifact[Sample]], config: IndexConfig
) -> Opened:
    """The index, its vectors and codes mapped. UserError where a shard was embedded again since."""
    import numpy as np
    import pyarrow.compute as pc

    if len(parts) != len(_made_of(index)) or not _same_parts(index, parts, tuple(parts)):
        raise UserError(
            f"shards of {index.uri.rpartition('/')[0]} were embedded again or replaced since its index was made: play"
            " the round again, or build the corpus again."
        )
    table = index.table()
    places = np.load(index.file(ROWS), mmap_mode="r")
    served = pc.is_null(table["reason"]).to_numpy()[places]
    vectors = vectors_of([parts[name] for name in sorted(parts)])
    device = config.device if isinstance(config, Exact) else "auto"
    return Opened(
        table, Index(vectors, served, _opened_codes(place, index, parts), _groups(table, places), device), places
    )


def _opened_codes(place: Place, index: Artifact[Sample], parts: Mapping[str, Artifact[Sample]]) -> Codes | None:
    if not any(file.name == CODES for file in index.manifest.files):
        return None
    quantizer = place.find(train_quantizer.name, Trained)
    if quantizer is None or quantizer.content_id != index.manifest.fingerprinted["quantizer"]:
        raise UserError(f"what {index.uri} was coded with is gone: build the corpus again.")
    coding, trained = _coding(index), Quantizer.open(quantizer.folder("quantizer"))
    return Codes.open(trained, index.file(CODES), coding.setting).numbered(_numbers(parts, coding.order))


def vectors_of(parts: Sequence[Artifact[Sample]]) -> Vectors:
    """The parts' vectors as one array, mapped."""
    with ThreadPoolExecutor(_OPENING) as pool:  # from an object store each is fetched
        return Vectors.open(list(pool.map(lambda part: part.file(VECTORS), parts)))


@dataclass(frozen=True)
class _Queries:
    """Embedded texts, by what they are for and where they come from."""

    tune: NDArray[np.float32]
    captions: NDArray[np.float32]
    searcher: NDArray[np.float32]

    @classmethod
    def of(cls, table: pa.Table, rows: NDArray[np.int64], asked: Asked, clip: Clip) -> _Queries:
        captions = Texts.divided(_told(table["caption"].take(rows)), RECALL_QUERIES)
        queries = Texts.divided(asked.texts, RECALL_QUERIES)
        embed = clip.open().embed_texts
        return cls(embed([*captions.tune, *queries.tune]), embed(captions.measure), embed(queries.measure))


def _measured(index: Index, texts: _Queries, config: Exact | Scan | IVF) -> dict[str, int]:
    """Recall in 1/10 000 and latency in microseconds, on each kind of queries: texts are what is asked."""
    import numpy as np

    kept = np.flatnonzero(np.ones(len(index.vectors), bool) if index.served is None else index.served)
    pictures = index.vectors.take(kept[:: max(1, len(kept) // RECALL_QUERIES)][:RECALL_QUERIES]).astype(np.float32)
    kinds = {"text": texts.captions, "searcher": texts.searcher, "image": pictures}
    found = {kind: measure(index, queries) for kind, queries in kinds.items() if len(queries)}
    if not isinstance(config, Exact):
        for kind in ("text", "searcher"):
            _stop_below(config.target, kind, found.get(kind))
    told = texts.captions if len(texts.captions) else pictures
    counts = {f"{kind} recall@{AT} /10000": round(10_000 * one.recall) for kind, one in found.items()}
    queries = {"recall queries": len(texts.captions) + len(texts.searcher)}
    return counts | queries | {"latency us": round(1e6 * latency(index, told))}


def _stop_below(target: float, kind: str, found: Measured | None) -> None:
    if found is not None and found.recall < target:
        raise RecallMissed(
            f"the index reaches a {kind} recall@{AT} of {found.recall:.3f} (of {found.queries} queries), less than its"
            f" target of {target:g}: raise retrieval.index.rerank, or lower retrieval.index.target."
        )


def _coded(
    quantizer: Artifact[Trained],
    parts: Sequence[Artifact[Sample]],
    order: Sequence[str],
    earlier: Artifact[Sample] | None,
) -> Codes:
    """The parts' codes; those of an earlier index are taken over."""
    opened = Quantizer.open(quantizer.folder("quantizer"))
    codes = Codes.copy(opened, earlier.file(CODES)) if earlier else Codes.empty(opened)
    known = len(_coding(earlier).order) if earlier else 0
    named = {_shard(part): part for part in parts}
    for name in order[known:]:
        for _, block in vectors_of([named[name]]).blocks(_SAMPLED):
            codes.add(block)
    return codes.numbered(_numbers(named, order))


def _numbers(parts: Mapping[str, Artifact[Sample]], order: Sequence[str]) -> NDArray[np.int64] | None:
    """The number of each coded vector; None where shards were coded in the order of their names."""
    import numpy as np

    if list(order) == sorted(order):
        return None
    starts = dict(
        zip(sorted(parts), np.cumsum([0, *(_vectors_in(parts[name]) for name in sorted(parts))]), strict=False)
    )
    numbers: NDArray[np.int64] = np.concatenate([starts[name] + np.arange(_vectors_in(parts[name])) for name in order])
    return numbers


def _groups(table: pa.Table, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each vector the row of the picture that it is nearly the same as: its own for most."""
    import numpy as np
    import pyarrow.compute as pc

    found: NDArray[np.int64] = np.arange(len(table))
    later = np.flatnonzero(pc.is_valid(table["group"]).to_numpy())
    firsts = pc.index_in(table["group"].take(later), value_set=table["key"].combine_chunks())
    found[later] = firsts.to_numpy()
    return found[rows]


def _captions(parts: Sequence[Artifact[Sample]]) -> Texts:
    def all_captions() -> Iterator[str]:
        for part in parts:
            yield from _told(part.table()["caption"])

    return Texts.divided(all_captions(), RECALL_QUERIES)


def _told(captions: pa.ChunkedArray) -> list[str]:
    return [caption for caption in captions.to_pylist() if caption]


def _sampled(vectors: Vectors, most: int) -> NDArray[np.float16]:
    """At most so many, evenly spread."""
    import numpy as np

    return vectors.take(np.arange(0, len(vectors), -(-len(vectors) // most)))


def _vectors_in(part: Artifact[Sample]) -> int:
    return part.counters.get("kept", 0)


def _shard(part: Artifact[Sample]) -> str:
    """A part's shard, by what went into it."""
    shard: Any = part.manifest.fingerprinted["shard"]
    return str(shard["name"])


def _coding(index: Artifact[Sample]) -> Coding:
    return Coding.model_validate_json(index.file(SETTING).read_text())


def _same_parts(index: Artifact[Sample], parts: Mapping[str, Artifact[Sample]], names: Sequence[str]) -> bool:
    """Whether the index was made of these very parts."""
    made_of = set(_made_of(index))
    return all(parts[name].content_id in made_of for name in names)


def parts_in(index: Artifact[Sample], parts: Mapping[str, Artifact[Sample]]) -> dict[str, Artifact[Sample]]:
    """Those of the parts that the index was made of: shards may have been added since."""
    made_of = set(_made_of(index))
    return {name: part for name, part in parts.items() if part.content_id in made_of}


def _made_of(index: Artifact[Sample]) -> list[str]:
    """Identities of its parts."""
    return list(map(str, _list(index.manifest.fingerprinted.get("parts"))))


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
