"""Makes a corpus searchable: shards, then rows and embeddings shard by shard, then one index over all.

    corpora/<name>/shards/                      the micro world's shards, where the corpus is rendered
    corpora/<name>/parts/00012/embeddings/      a shard's rows and their float16 vectors
    corpora/<name>/index/                       all rows, duplicates marked, and the index
    corpora/<name>/catalog/                     where the shards lie and how to open it all

A shard is read once: its pictures are decoded, checked and embedded in one stream. Vector i of a part belongs to its
i-th row without a `reason`, and so it is in the index.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import TypeAdapter

from tasks.corpora import Corpus, CorpusConfig, World
from tasks.corpora.decode import Limits, Read
from tasks.corpora.sample import Sample, Shard
from tasks.errors import UserError
from tasks.identity import Execution
from tasks.progress import track
from tasks.records import Row
from tasks.retrieval.clip import Clip, Embedder
from tasks.retrieval.index import Index, IndexConfig, recall
from tasks.retrieval.library import DUPLICATE, Library, LibraryConfig
from tasks.stage import stage, workspace
from tasks.store import Artifact, Output, Place, Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

VECTORS = "embeddings.npy"
INDEX = "index.faiss"
RECALL_AT = 5
RECALL_QUERIES = 500


class Catalog(Row):
    """How a built corpus is opened again. One row."""

    corpus: str
    """Its `CorpusConfig` as JSON: where the shards lie."""
    library: str
    """Its `LibraryConfig` as JSON."""


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


def mark_duplicates(samples: Sequence[Sample]) -> list[Sample]:
    """Of pictures with the same bytes the first stays; the others say which one it is."""
    first: dict[str, str] = {}
    return [_marked(sample, first) for sample in samples]


def reasons(samples: Iterable[Sample]) -> dict[str, int]:
    """How many rows by the kind of their reason: `{"kept": 970, "broken": 12, "failed": 18}`."""
    return dict(Counter(_kind(sample.reason) for sample in samples))


def text_queries(samples: Sequence[Sample], most: int = RECALL_QUERIES) -> list[str]:
    """Different captions, evenly spread over the corpus."""
    captions = list(dict.fromkeys(sample.caption for sample in samples if sample.caption))
    return captions[:: max(1, len(captions) // most)][:most]


@stage("shards", Shard)
def render_shards(place: Place, world: World) -> Output[Shard]:
    """The micro world's shards, kept in the store under `shards/`."""
    folder = workspace() / "shards"
    folder.mkdir()
    world.render(folder)
    return Output(world.rendered(folder).listing(), files={"shards": folder})


@stage("embeddings", Sample)
def embed_shard(
    place: Place,
    shard: Shard,
    limits: Limits,
    embedder: str,
    *,
    corpus: Annotated[Corpus, Execution],
    clip: Annotated[Clip, Execution],
) -> Output[Sample]:
    """One shard's rows and vectors. `embedder` is the fingerprint of the model that `clip` opens."""
    import numpy as np

    samples, vectors = embed(corpus.read(shard.name), clip.open())
    np.save(workspace() / VECTORS, vectors)
    return Output(samples, reasons(samples), {VECTORS: workspace() / VECTORS})


@stage("index", Sample)
def build_index(
    place: Place,
    config: IndexConfig,
    embedder: str,
    parts: tuple[Artifact[Sample], ...],
    *,
    clip: Annotated[Clip, Execution],
) -> Output[Sample]:
    """All parts' rows with duplicates marked, an index over the rest, and how well it answers captions."""
    import numpy as np

    read = [sample for part in parts for sample in part.read()]
    vectors = np.concatenate([np.load(part.file(VECTORS), mmap_mode="r") for part in parts])
    samples = mark_duplicates(read)
    kept = [after.reason is None for before, after in zip(read, samples, strict=True) if before.reason is None]
    if not any(kept):
        raise UserError(f"no usable picture in this corpus: {reasons(samples)}.")
    index = config.build(vectors[kept])
    index.save(workspace() / INDEX)
    return Output(samples, reasons(samples) | _recalls(index, samples, clip), {INDEX: workspace() / INDEX})


@stage("catalog", Catalog)
def write_catalog(place: Place, corpus: str, library: str) -> Output[Catalog]:
    """Notes where the shards lie. Apart from the index, whose identity is what is in the shards."""
    return Output([Catalog(corpus=corpus, library=library)])


def build_corpus(place: Place, config: CorpusConfig, library: LibraryConfig) -> Artifact[Sample]:
    """Everything from shards to index at `place`; what is there already and has not changed is reused."""
    corpus = _rendered(place, config) if isinstance(config, World) else config
    shards, embedder = corpus.listing(), library.clip.open().fingerprint
    parts = []
    with track(len(shards), "shards") as progress:
        for shard in shards:
            part = embed_shard(
                part_of(place, shard.name), shard, corpus.limits, embedder, corpus=corpus, clip=library.clip
            )
            parts.append(part)
            progress.advance()
    index = build_index(place, library.index, embedder, tuple(parts), clip=library.clip)
    write_catalog(place, config.model_dump_json(), library.model_dump_json())
    return index


def open_library(place: Place, config: LibraryConfig | None = None) -> Library:
    """The built corpus at `place`. `config` overrides how it is searched and where the model lies.

    UserError where nothing is built there, and, with the first query, where the model is another one.
    """
    index = built_index(place)
    catalog = place.find("catalog", Catalog)
    if catalog is None:
        raise _not_built(place)
    (row,) = catalog.read()
    source: CorpusConfig = TypeAdapter(CorpusConfig).validate_json(row.corpus)
    corpus = _rendered(place, source) if isinstance(source, World) else source
    settings = config or LibraryConfig.model_validate_json(row.library)
    embedder = str(index.manifest.identity["embedder"])
    return Library(settings, corpus, index.table(), Index.open(index.file(INDEX)), embedder)


def built_index(place: Place) -> Artifact[Sample]:
    """The corpus's index, verified. UserError where none is complete."""
    index = place.find("index", Sample)
    if index is None:
        raise _not_built(place)
    return index


def corpus_place(uri: str) -> Place:
    """The place of a corpus by its address: `<store>/corpora/<name>`, or any other folder."""
    parent, _, name = Store(uri).url.rpartition("/")
    return Place(Store(parent), name)


def part_of(place: Place, shard: str) -> Place:
    """Where a shard's part lies. A name that the store does not take is spelled out and told apart by a digest."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", shard.lower()).lstrip("._-")
    name = plain if plain == shard else f"{plain or 'x'}-{hashlib.sha256(shard.encode()).hexdigest()[:8]}"
    return Place(place.store, f"{place.prefix}/parts/{name}")


def _not_built(place: Place) -> UserError:
    uri = f"{place.store.url}/{place.prefix}"
    return UserError(f"no built corpus at {uri}: `active-zero corpus build SHARDS --out {uri}` makes one.")


def _rendered(place: Place, world: World) -> Corpus:
    return world.rendered(render_shards(place, world).folder("shards"))


def _marked(sample: Sample, first: dict[str, str]) -> Sample:
    if sample.reason is not None or sample.sha256 is None:
        return sample
    original = first.setdefault(sample.sha256, sample.key)
    return sample if original == sample.key else sample.model_copy(update={"reason": f"{DUPLICATE} {original}"})


def _kind(reason: str | None) -> str:
    if reason is None:
        return "kept"
    return "duplicate" if reason.startswith(DUPLICATE) else reason.partition(":")[0]


def _recalls(index: Index, samples: Sequence[Sample], clip: Clip) -> dict[str, int]:
    """Recall on captions and on the pictures themselves, in 1/10 000: the two differ, and texts are what is asked."""
    import numpy as np

    queries = text_queries(samples)
    stride = np.arange(0, len(index), max(1, len(index) // RECALL_QUERIES))
    counts = {"dimensions": int(index.faiss.d), "recall queries": len(queries)}
    if queries:
        texts = recall(index, clip.open().embed_texts(queries), RECALL_AT)
        counts[f"text recall@{RECALL_AT} /10000"] = round(10_000 * texts)
    pictures = recall(index, index.vectors(stride), RECALL_AT)
    return counts | {f"image recall@{RECALL_AT} /10000": round(10_000 * pictures)}
