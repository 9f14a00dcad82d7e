"""Makes a corpus searchable: shards, then rows and embeddings shard by shard, then one index over all.

    corpora/<name>/shards/                      the micro world's shards, where the corpus is rendered
    corpora/<name>/parts/00012/shard/           what a shard is, by its contents
    corpora/<name>/parts/00012/embeddings/      its rows and their float16 vectors
    corpora/<name>/catalog/                     where the shards lie and how to open it all
    corpora/<name>/quantizer/, index/           all rows, masked, and the index (`coding.py`)

A shard is fetched and read once: its pictures are decoded, checked and embedded in one stream. Vector i of a part
belongs to its i-th row without a `reason`. Masks are laid over all rows afterwards; what they leave is in the index.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import ConfigDict, TypeAdapter

from tasks.config import RunConfig
from tasks.corpora import Corpus, CorpusConfig, Source, WorldCorpus
from tasks.corpora.combined import CombinedCorpus
from tasks.corpora.decode import Limits, Read
from tasks.corpora.sample import Listed, Sample, Shard, reasons
from tasks.execution.mapped import mapped
from tasks.execution.progress import track
from tasks.execution.stage import stage, workspace
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
"""Shards under way on one machine: one is fetched while another is embedded."""
DAMAGED = "damaged shard"
_NO_PICTURE = ("failed", "unfinished", DAMAGED, "damaged metadata")


class Catalog(Row):
    """One source of a built corpus, and how it is opened again."""

    corpus: str
    """Its `CorpusConfig` as JSON: where the shards lie."""
    library: str
    """The corpus's `RetrievalConfig` as JSON."""
    shards: tuple[str, ...]
    """Names of the shards that come from there."""


def embed(reads: Iterable[Read], embedder: Embedder) -> tuple[list[Sample], NDArray[np.float16]]:
    """All rows of a stream, and float16 [kept, d] of those without a reason, in their order."""
    samples: list[Sample] = []

    def images() -> Iterator[Image.Image]:
        with track(None, "pictures") as progress:
            for sample, image in reads:
                samples.append(sample)
                progress.advance()
                if image is not None:
                    yield image

    vectors = embedder.embed_images(images())
    return samples, vectors


@stage("shards", Shard, version=2)
def render_shards(place: Place, world: WorldCorpus) -> Output[Shard]:
    """The micro world's shards, kept in the store under `shards/`."""
    folder = workspace() / "shards"
    folder.mkdir()
    world.render(folder)
    corpus = world.rendered(folder)
    return Output([corpus.shard(listed.name).describe() for listed in corpus.listing()], files={"shards": folder})


@stage("shard", Shard, version=2)
def describe_shard(place: Place, listed: Listed, *, source: Annotated[Source, NotFingerprinted]) -> Output[Shard]:
    """What a shard holds, so that it counts as the same wherever it lies. Read again only when its stamp changes."""
    return Output([source.describe()])


@stage("embeddings", Sample, version=3)
def embed_shard(
    place: Place,
    shard: Shard,
    limits: Limits,
    embedder: str,
    *,
    source: Annotated[Source, NotFingerprinted],
    clip: Annotated[Clip, NotFingerprinted],
) -> Output[Sample]:
    """One shard's rows and vectors. `embedder` is the fingerprint of the model that `clip` opens."""
    import numpy as np

    model = clip.open()
    samples, vectors = embed(source.read(model.fit), model)
    np.save(workspace() / VECTORS, vectors)
    return Output(samples, reasons(sample.reason for sample in samples), {VECTORS: workspace() / VECTORS})


@stage("catalog", Catalog, version=2)
def write_catalog(place: Place, sources: tuple[Catalog, ...]) -> Output[Catalog]:
    """Notes where the shards lie. Apart from the index, whose fingerprinted is what is in the shards."""
    return Output(sources)


def build_corpus(
    place: Place, config: CorpusConfig, library: RetrievalConfig, at_once: int = AT_ONCE
) -> Artifact[Sample]:
    """Everything from shards to index at `place`; what is there already and has not changed is reused."""
    corpus = _rendered(place, config) if isinstance(config, WorldCorpus) else config
    parts = ingest(place, corpus, library.clip, at_once=at_once)
    source = Catalog(corpus=config.model_dump_json(), library=library.model_dump_json(), shards=tuple(sorted(parts)))
    write_catalog(place, (source,))
    return index_parts(place, config.masks, library, parts)


def add_to_corpus(place: Place, config: CorpusConfig, at_once: int = AT_ONCE) -> Artifact[Sample]:
    """The corpus at `place` and the shards of another address, with the settings that it was built with.

    Its own shards are not looked at again. UserError where a new one has the name of another one.
    """
    catalog = _catalog(place)
    library = _settings(catalog)
    first = _configured(catalog[0])
    added = config.model_copy(update={"limits": first.limits, "masks": first.masks})
    old = {name: _part(place, name) for source in catalog for name in source.shards}
    corpus = _rendered(place, added) if isinstance(added, WorldCorpus) else added
    new = _without_known(place, corpus, old)
    parts = old | ingest(place, corpus, library.clip, new, at_once)
    if new:
        names = tuple(listed.name for listed in new)
        source = Catalog(corpus=added.model_dump_json(), library=catalog[0].library, shards=names)
        write_catalog(place, (*catalog, source))
    return index_parts(place, first.masks, library, parts)


def ingest(
    place: Place, corpus: Corpus, clip: Clip, shards: Sequence[Listed] | None = None, at_once: int = AT_ONCE
) -> dict[str, Artifact[Sample]]:
    """Rows and vectors of a corpus's shards (all, or those given), each an artifact of its own, by their names.

    In a flow run they are mapped tasks, `at_once` of them under way.
    UserError with the list where too many shards are damaged or too many pictures broken.
    """
    listing = corpus.listing() if shards is None else shards
    parts: dict[str, Artifact[Sample]] = {}
    calls = [(place, corpus, listed, clip) for listed in listing]
    with track(len(listing), "shards") as progress:
        for listed, part in zip(listing, mapped(ingest_shard, calls, at_once, "shard {listed.name}"), strict=True):
            parts[listed.name] = part
            _stop_at_damage(parts, len(listing), corpus.limits)
            progress.advance()
    _stop_at_broken(parts, corpus.limits)
    return parts


def ingest_shard(place: Place, corpus: Corpus, listed: Listed, clip: Clip) -> Artifact[Sample]:
    """One shard's rows and vectors, whatever else of the corpus there is."""
    part = part_of(place, listed.name)
    with corpus.shard(listed.name) as source:
        (shard,) = describe_shard(part, listed, source=source).read()
        found = embed_shard(part, shard, corpus.limits, clip.space.fingerprint, source=source, clip=clip)
    if found.counters.get(DAMAGED):
        log.warning("shard %s is damaged: %s", listed.name, _damage(found))
    return found


def open_corpus(
    place: Place, config: RetrievalConfig | None = None, index: Artifact[Sample] | None = None
) -> SearchableCorpus:
    """The built corpus at `place`. `config` overrides how it is searched and where the model lies.

    `index` is the one that stands, or one that stood before shards were added. UserError where nothing is built there,
    where the index's shards are others now, and, with the first query, where the model is another one.
    """
    index, catalog = index or built_index(place), _catalog(place)
    sources: dict[str, Corpus] = {}
    for row in catalog:
        source = _configured(row)
        corpus = _rendered(place, source) if isinstance(source, WorldCorpus) else source
        sources |= dict.fromkeys(row.shards, corpus)
    settings = config or _settings(catalog)
    parts = parts_in(index, {name: _part(place, name) for name in sources})
    opened = open_index(place, index, parts, settings.index)
    embedder = str(index.manifest.fingerprinted["embedder"])
    return SearchableCorpus(settings, CombinedCorpus(sources), opened.table, opened.index, opened.places, embedder)


class CorpusHandle(Frozen):
    """Enters a stage's fingerprint by the index's contents, not by where it lies."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    index: Artifact[Sample]
    retrieval: RetrievalConfig

    @classmethod
    def of_run(cls, store: Store, config: RunConfig) -> Self:
        """The corpus that the run names, built or brought up to date where it says of what. UserError where none is."""
        corpus, retrieval = config.corpus, config.retrieval
        place = place_of(store, corpus.at)
        if corpus.source is not None:
            return cls(index=build_corpus(place, corpus.source, retrieval, corpus.at_once), retrieval=retrieval)
        return cls(index=built_index(place), retrieval=retrieval)

    def open(self) -> SearchableCorpus:
        """The library of these pictures, also where the corpus has grown since. UserError where it is another now."""
        return open_corpus(corpus_place(self.index.uri.rpartition("/")[0]), self.retrieval, self.index)


def retrieval_config(place: Place) -> RetrievalConfig:
    """The settings that the corpus at `place` was built with. UserError where none is built."""
    return _settings(_catalog(place))


def sources(place: Place) -> list[CorpusConfig]:
    """What the corpus at `place` was built from, and what was added. UserError where none is built."""
    return [_configured(row) for row in _catalog(place)]


def built_index(place: Place) -> Artifact[Sample]:
    """The corpus's index, verified. UserError where none is complete."""
    index = place.find(build_index.name, Sample)
    if index is None:
        raise _not_built(place)
    return index


def corpus_place(uri: str) -> Place:
    """The place of a corpus by its address: `<store>/corpora/<name>`, or any other folder."""
    parent, _, name = Store(uri).url.rpartition("/")
    return Place(Store(parent), name)


def place_of(store: Store, at: str) -> Place:
    """Where a run's `corpus.at` leads: a name below the store's `corpora/`, or an address of its own."""
    return corpus_place(at) if "/" in at else Place(store, f"corpora/{at}")


def part_of(place: Place, shard: str) -> Place:
    """Where a shard's part lies. A name that the store does not take is spelled out and told apart by a digest."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", shard.lower()).lstrip("._-")
    name = plain if plain == shard else f"{plain or 'x'}-{hashlib.sha256(shard.encode()).hexdigest()[:8]}"
    return Place(place.store, f"{place.prefix}/parts/{name}")


def _not_built(place: Place) -> UserError:
    uri = f"{place.store.url}/{place.prefix}"
    return UserError(f"no built corpus at {uri}: `active-zero corpus build SHARDS --out {uri}` makes one.")


def _rendered(place: Place, world: WorldCorpus) -> Corpus:
    return world.rendered(render_shards(place, world).folder("shards"))


def _catalog(place: Place) -> list[Catalog]:
    catalog = place.find(write_catalog.name, Catalog)
    if catalog is None:
        raise _not_built(place)
    return catalog.read()


def _settings(catalog: Sequence[Catalog]) -> RetrievalConfig:
    return RetrievalConfig.model_validate_json(catalog[0].library)


def _configured(source: Catalog) -> CorpusConfig:
    config: CorpusConfig = TypeAdapter(CorpusConfig).validate_json(source.corpus)
    return config


def _part(place: Place, shard: str) -> Artifact[Sample]:
    part = part_of(place, shard).find(embed_shard.name, Sample)
    if part is None:
        raise UserError(f"shard {shard} of {place.store.url}/{place.prefix} is gone: build the corpus again.")
    return part


def _without_known(place: Place, corpus: Corpus, known: Mapping[str, object]) -> list[Listed]:
    """The shards that the corpus does not have yet. UserError where one has the name of another."""
    new = []
    for listed in corpus.listing():
        if listed.name not in known:
            new.append(listed)
            continue
        had = part_of(place, listed.name).find(describe_shard.name, Shard)
        with corpus.shard(listed.name) as source:
            if had is None or had.read()[0].version != source.describe().version:
                raise UserError(
                    f"the corpus has another shard {listed.name} already: give the new ones a prefix (--prefix NAME-)."
                )
    return new


def _stop_at_damage(parts: Mapping[str, Artifact[Sample]], shards: int, limits: Limits) -> None:
    damaged = {name: part for name, part in parts.items() if part.counters.get(DAMAGED)}
    if len(damaged) > limits.max_failures * shards:
        listed = "; ".join(f"{name}: {_damage(part)}" for name, part in damaged.items())
        raise UserError(
            f"{len(damaged)} of {shards} shards are damaged, more than limits.max_failures ({limits.max_failures:g})"
            f" allows: fetch them again or allow more. {listed}"
        )


def _stop_at_broken(parts: Mapping[str, Artifact[Sample]], limits: Limits) -> None:
    broken = {name: part.counters.get("broken", 0) for name, part in parts.items()}
    pictures = {name: _pictures(part) for name, part in parts.items()}
    if sum(broken.values()) > limits.max_failures * sum(pictures.values()):
        listed = "; ".join(f"{name}: {broken[name]} of {pictures[name]}" for name in parts if broken[name])
        raise UserError(
            f"{sum(broken.values())} of {sum(pictures.values())} pictures are broken, more than limits.max_failures"
            f" ({limits.max_failures:g}) allows: fetch them again or allow more. {listed}"
        )


def _pictures(part: Artifact[Sample]) -> int:
    """Rows with a picture. Failed downloads are no failures here: of LAION's addresses half are dead."""
    return sum(count for kind, count in part.counters.items() if kind not in _NO_PICTURE)


def _damage(part: Artifact[Sample]) -> str:
    """What is wrong with a damaged shard, in the words of its row."""
    found = [str(reason) for reason in part.table()["reason"].to_pylist() if reason and reason.startswith(DAMAGED)]
    return found[0].partition(": ")[2]
