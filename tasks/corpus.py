"""Makes a corpus searchable: each shard becomes rows and embeddings, then one index covers all shards.

    corpora/<name>/shards/                      the micro world's shards, if the corpus is rendered
    corpora/<name>/parts/00012/shard/           name, size and version of a shard
    corpora/<name>/parts/00012/embeddings/      a part: the rows of a shard and their float16 vectors
    corpora/<name>/catalog/                     where the shards lie, and the settings of the corpus
    corpora/<name>/quantizer/, index/           all rows with masks applied, and the index (`index.py`)

A shard is fetched and read once: its pictures are decoded, checked and embedded in one stream. Vector i of a part
belongs to the part's i-th row without a `reason`. Masks are applied later, to the rows of all parts.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import ConfigDict, TypeAdapter

from tasks.config import RunConfig
from tasks.corpora import Corpus, CorpusConfig, RenderedSource, ShardReader
from tasks.corpora.combined import CombinedCorpus
from tasks.corpora.decode import DecodedSample, Limits
from tasks.corpora.sample import ListedShard, Sample, Shard, count_reasons
from tasks.execution.dry_run import current_dry_run
from tasks.execution.mapped import mapped
from tasks.execution.progress import track
from tasks.execution.stage import if_complete, stage, workspace
from tasks.index import VECTORS, build_index, index_parts, open_index, parts_in
from tasks.records import Row
from tasks.retrieval.clip import Clip, Embedder
from tasks.retrieval.searchable_corpus import RetrievalConfig, SearchableCorpus
from tasks.settings.base import Frozen
from tasks.settings.errors import UserError
from tasks.settings.fingerprint import NotFingerprinted
from tasks.store import Artifact, Output, Place, Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

log = logging.getLogger(__name__)

AT_ONCE = 2
"""Shards processed at a time on one machine: one is fetched while another is embedded."""
DAMAGED = "damaged shard"
CAPTIONS, METADATA_ROWS, JOINED_ROWS = "captions", "metadata rows", "metadata rows joined"
_NO_PICTURE = ("failed", "unfinished", DAMAGED, "damaged metadata", CAPTIONS, METADATA_ROWS, JOINED_ROWS)


class CatalogEntry(Row):
    """One address that a corpus was built from."""

    source: str
    """`CorpusConfig` as JSON: where the shards lie."""
    retrieval: str
    """The corpus's `RetrievalConfig` as JSON."""
    shards: tuple[str, ...]
    """Names of the shards at this address."""


def embed_samples(decoded: Iterable[DecodedSample], embedder: Embedder) -> tuple[list[Sample], NDArray[np.float16]]:
    """All rows of a stream, and the vectors [kept, d] of the rows without a reason, in the same order."""
    samples: list[Sample] = []

    def images() -> Iterator[Image.Image]:
        with track(None, "pictures") as progress:
            for sample, image in decoded:
                samples.append(sample)
                progress.advance()
                if image is not None:
                    yield image

    vectors = embedder.embed_images(images())
    return samples, vectors


@stage("shards", Shard, version=2)
def render_shards(place: Place, source: RenderedSource) -> Output[Shard]:
    """The shards of a source that must be rendered, kept in the store under `shards/`."""
    folder = workspace() / "shards"
    folder.mkdir()
    source.render(folder)
    corpus = source.rendered(folder)
    return Output([corpus.shard(listed.name).describe() for listed in corpus.listing()], files={"shards": folder})


@stage("shard", Shard, version=2)
def describe_shard(
    place: Place, listed: ListedShard, *, reader: Annotated[ShardReader, NotFingerprinted]
) -> Output[Shard]:
    """Name, size and version of a shard. Runs again only if the stamp of the listing changes."""
    return Output([reader.describe()])


@stage("embeddings", Sample, version=4)
def embed_shard(
    place: Place,
    shard: Shard,
    limits: Limits,
    embedder: str,
    *,
    reader: Annotated[ShardReader, NotFingerprinted],
    clip: Annotated[Clip, NotFingerprinted],
) -> Output[Sample]:
    """One shard's rows and vectors. `embedder` is the fingerprint of the model that `clip` opens."""
    import numpy as np

    model = clip.open()
    samples, vectors = embed_samples(reader.read(model.fit), model)
    np.save(workspace() / VECTORS, vectors)
    joined, rows = reader.metadata_rows
    counts = count_reasons(sample.reason for sample in samples)
    counts[CAPTIONS] = sum(sample.caption is not None for sample in samples if sample.member is not None)
    counts |= {METADATA_ROWS: rows, JOINED_ROWS: joined} if rows else {}
    return Output(samples, counts, {VECTORS: workspace() / VECTORS})


@stage("catalog", CatalogEntry, version=2)
def write_catalog(place: Place, entries: tuple[CatalogEntry, ...]) -> Output[CatalogEntry]:
    """The addresses of the shards. Apart from the index, whose fingerprint covers the shards' contents alone."""
    return Output(entries)


def build_corpus(
    place: Place, source: CorpusConfig, retrieval: RetrievalConfig, at_once: int = AT_ONCE
) -> Artifact[Sample]:
    """All stages from shards to index at `place`. Complete stages whose inputs have not changed are reused."""
    with _held(place):
        corpus = _materialized(place, source)
        _tell_left_out(corpus)
        parts = embed_shards(place, corpus, retrieval.clip, at_once=at_once)
        write_catalog(place, (_catalog_entry(source, retrieval.model_dump_json(), parts),))
        return index_parts(place, source.masks, retrieval, parts)


def add_to_corpus(place: Place, source: CorpusConfig, at_once: int = AT_ONCE) -> Artifact[Sample]:
    """The corpus at `place` with the shards of another address, under the settings that it was built with.

    The corpus's own shards are not read. UserError if a new shard has the name of another one.
    """
    with _held(place):
        catalog = _read_catalog(place)
        retrieval, first = _retrieval_in(catalog), _source_in(catalog[0])
        added = source.model_copy(update={"limits": first.limits, "masks": first.masks})
        parts = {name: _existing_part(place, name) for entry in catalog for name in entry.shards}
        corpus = _materialized(place, added)
        _tell_left_out(corpus)
        new = _new_shards(place, corpus, parts)
        parts |= embed_shards(place, corpus, retrieval.clip, new, at_once)
        if new:
            entry = _catalog_entry(added, catalog[0].retrieval, [listed.name for listed in new])
            write_catalog(place, (*catalog, entry))
        return index_parts(place, first.masks, retrieval, parts)


def _held(place: Place) -> AbstractContextManager[object]:
    """The corpus's lease from the first read to the last commit: of two who add at once, one waits."""
    return nullcontext() if current_dry_run() else place.hold(wait=True)


def _tell_left_out(corpus: Corpus) -> None:
    for what in corpus.left_out():
        log.warning("left out of %s: %s", corpus.address, what)


def embed_shards(
    place: Place, corpus: Corpus, clip: Clip, shards: Sequence[ListedShard] | None = None, at_once: int = AT_ONCE
) -> dict[str, Artifact[Sample]]:
    """The parts of a corpus's shards (by default all shards) by name.

    In a flow run the shards are mapped tasks, `at_once` of them at a time.
    UserError with the list if too many shards are damaged or too many pictures broken.
    """
    listing = corpus.listing() if shards is None else shards
    parts: dict[str, Artifact[Sample]] = {}
    calls = [(place, corpus, listed, clip) for listed in listing]
    with track(len(listing), "shards") as progress:
        for listed, part in zip(listing, mapped(run_shard_stages, calls, at_once, "shard {listed.name}"), strict=True):
            parts[listed.name] = part
            _check_damaged(parts, len(listing), corpus.limits)
            progress.advance()
    _check_broken(parts, corpus.limits)
    return parts


def run_shard_stages(place: Place, corpus: Corpus, listed: ListedShard, clip: Clip) -> Artifact[Sample]:
    """One shard's part: its description, then its rows and vectors. Needs no other shard."""
    home = part_of(place, listed.name)
    with corpus.shard(listed.name) as reader:
        (shard,) = describe_shard(home, listed, reader=reader).read()
        part = embed_shard(home, shard, corpus.limits, clip.space.fingerprint, reader=reader, clip=clip)
    (log.warning if part.counters.get(DAMAGED) else log.info)("%s", shard_line(listed.name, part))
    return part


def shard_line(name: str, part: Artifact[Sample]) -> str:
    """What a shard gave: `shard 00012: 970 pictures, 968 captions, 970 of 1000 metadata rows; 12 broken, 18 failed`."""
    counts = dict(part.counters)
    kept, captions = counts.pop("kept", 0), counts.pop(CAPTIONS, 0)
    rows, joined = counts.pop(METADATA_ROWS, 0), counts.pop(JOINED_ROWS, 0)
    found = [f"{kept} pictures", f"{captions} captions", *([f"{joined} of {rows} metadata rows"] if rows else [])]
    lost = [f"{count} {kind}" for kind, count in sorted(counts.items()) if not kind.startswith("damaged")]
    told = [f"{kind}: {_damage(part, kind)}" for kind in counts if kind.startswith("damaged")]
    return f"shard {name}: {', '.join(found)}" + "".join(f"; {text}" for text in [", ".join(lost), *told] if text)


def open_corpus(
    place: Place, config: RetrievalConfig | None = None, index: Artifact[Sample] | None = None
) -> SearchableCorpus:
    """The built corpus at `place`. `config` overrides search settings and the model's address.

    `index` is by default the current index; an earlier one gives the corpus before shards were added. UserError if
    nothing is built at `place`, if shards were replaced since the index was built, or, at the first query, if the model
    is another one.
    """
    index, catalog = index or built_index(place), _read_catalog(place)
    corpora: dict[str, Corpus] = {}
    for entry in catalog:
        corpora |= dict.fromkeys(entry.shards, _materialized(place, _source_in(entry)))
    settings = config or _retrieval_in(catalog)
    parts = parts_in(index, {name: _existing_part(place, name) for name in corpora})
    return SearchableCorpus(settings, CombinedCorpus(corpora), open_index(place, index, parts, settings.index))


class CorpusHandle(Frozen):
    """A built corpus as a stage's input. Its fingerprint covers the index's contents, not its address."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    index: Artifact[Sample]
    retrieval: RetrievalConfig

    @classmethod
    def of_run(cls, store: Store, config: RunConfig) -> Self:
        """The run's corpus, first built or updated if the run names a source. UserError if there is no corpus."""
        corpus, retrieval = config.corpus, config.retrieval
        place = place_of(store, corpus.at)
        source = corpus.source
        if source is None:
            return cls(index=built_index(place), retrieval=retrieval)

        def build() -> Artifact[Sample]:
            return build_corpus(place, source, retrieval, corpus.at_once)

        complete = None if current_dry_run() else if_complete(f"corpus {corpus.at}", build)
        return cls(index=build() if complete is None else complete, retrieval=retrieval)

    def open(self) -> SearchableCorpus:
        """The corpus of this index, without shards added later. UserError if shards were replaced."""
        return open_corpus(corpus_place(self.index.uri.rpartition("/")[0]), self.retrieval, self.index)


def retrieval_config(place: Place) -> RetrievalConfig:
    """The retrieval settings that the corpus at `place` was built with. UserError if none is built."""
    return _retrieval_in(_read_catalog(place))


def sources(place: Place) -> list[CorpusConfig]:
    """The sources of the corpus at `place`, in the order in which they were added. UserError if none is built."""
    return [_source_in(entry) for entry in _read_catalog(place)]


def built_index(place: Place) -> Artifact[Sample]:
    """The corpus's index, with its files verified. UserError if none is complete."""
    index = place.find(build_index.name, Sample)
    if index is None:
        raise _not_built(place)
    return index


def corpus_place(uri: str) -> Place:
    """The place of a corpus by its address: `<store>/corpora/<name>`, or any other folder."""
    parent, _, name = Store(uri).url.rpartition("/")
    return Place(Store(parent), name)


def place_of(store: Store, at: str) -> Place:
    """The place of a run's `corpus.at`: a name below the store's `corpora/`, or an address with a slash."""
    return corpus_place(at) if "/" in at else Place(store, f"corpora/{at}")


def part_of(place: Place, shard: str) -> Place:
    """The place of a shard's part. A shard name that the store does not allow is simplified and gets a digest."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", shard.lower()).lstrip("._-")
    name = plain if plain == shard else f"{plain or 'x'}-{hashlib.sha256(shard.encode()).hexdigest()[:8]}"
    return Place(place.store, f"{place.prefix}/parts/{name}")


def _not_built(place: Place) -> UserError:
    uri = f"{place.store.url}/{place.prefix}"
    return UserError(f"no built corpus at {uri}: `active-zero corpus build SHARDS --out {uri}` makes one.")


def _materialized(place: Place, source: CorpusConfig) -> Corpus:
    return source.materialize(partial(_rendered_folder, place))


def _rendered_folder(place: Place, source: RenderedSource) -> Path:
    return render_shards(place, source).folder("shards")


def _read_catalog(place: Place) -> list[CatalogEntry]:
    catalog = place.find(write_catalog.name, CatalogEntry)
    if catalog is None:
        raise _not_built(place)
    return catalog.read()


def _catalog_entry(source: CorpusConfig, retrieval: str, shards: Iterable[str]) -> CatalogEntry:
    return CatalogEntry(source=source.model_dump_json(), retrieval=retrieval, shards=tuple(sorted(shards)))


def _retrieval_in(catalog: Sequence[CatalogEntry]) -> RetrievalConfig:
    return RetrievalConfig.model_validate_json(catalog[0].retrieval)


def _source_in(entry: CatalogEntry) -> CorpusConfig:
    source: CorpusConfig = TypeAdapter(CorpusConfig).validate_json(entry.source)
    return source


def _existing_part(place: Place, shard: str) -> Artifact[Sample]:
    part = part_of(place, shard).find(embed_shard.name, Sample)
    if part is None:
        raise UserError(f"shard {shard} of {place.store.url}/{place.prefix} is gone: build the corpus again.")
    return part


def _new_shards(place: Place, corpus: Corpus, parts: Mapping[str, object]) -> list[ListedShard]:
    """The listed shards without a part. UserError if a shard with a part of its name has another version."""
    new = []
    for listed in corpus.listing():
        if listed.name not in parts:
            new.append(listed)
            continue
        described = part_of(place, listed.name).find(describe_shard.name, Shard)
        with corpus.shard(listed.name) as reader:
            if described is None or described.read()[0].version != reader.describe().version:
                raise UserError(
                    f"the corpus has another shard {listed.name} already: give the new ones a prefix (--prefix NAME-)."
                )
    return new


def _check_damaged(parts: Mapping[str, Artifact[Sample]], shards: int, limits: Limits) -> None:
    damaged = {name: part for name, part in parts.items() if part.counters.get(DAMAGED)}
    if len(damaged) > limits.max_failures * shards:
        listed = "; ".join(f"{name}: {_damage(part, DAMAGED)}" for name, part in damaged.items())
        raise UserError(
            f"{len(damaged)} of {shards} shards are damaged, more than limits.max_failures ({limits.max_failures:g})"
            f" allows: fetch them again or allow more. {listed}"
        )


def _check_broken(parts: Mapping[str, Artifact[Sample]], limits: Limits) -> None:
    broken = {name: part.counters.get("broken", 0) for name, part in parts.items()}
    pictures = {name: _pictures(part) for name, part in parts.items()}
    if sum(broken.values()) > limits.max_failures * sum(pictures.values()):
        listed = "; ".join(f"{name}: {broken[name]} of {pictures[name]}" for name in parts if broken[name])
        raise UserError(
            f"{sum(broken.values())} of {sum(pictures.values())} pictures are broken, more than limits.max_failures"
            f" ({limits.max_failures:g}) allows: fetch them again or allow more. {listed}"
        )


def _pictures(part: Artifact[Sample]) -> int:
    """Rows with a picture. Failed downloads do not count: half of LAION's addresses are dead."""
    return sum(count for kind, count in part.counters.items() if kind not in _NO_PICTURE)


def _damage(part: Artifact[Sample], kind: str) -> str:
    """What is damaged, from the reason of the shard's own row."""
    reasons = [reason for reason in part.table()["reason"].to_pylist() if reason and reason.startswith(kind)]
    return str(reasons[0]).partition(": ")[2]
