"""Does a corpus hold pictures of a benchmark, and what does a score owe to them?

The paper's pool contains sources that benchmarks reuse, and a Solver that trained on a benchmark's pictures is not
measured by it. The audit finds copies (re-encoded, resized, slightly cropped: see `corpora.duplicates`; with `clip`
also what the retrieval model takes for the same), and splits scores into items whose picture was found and the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from tasks.benchmarks import BenchmarkItem
from tasks.benchmarks.statistics import Interval, clusters_of, wilson_of
from tasks.corpora.duplicates import SAME_SHADE, SURE, Prints, prints_of
from tasks.execution.progress import track
from tasks.records import Row, Score
from tasks.records.prompt import Picture
from tasks.settings.base import Frozen, Settings

if TYPE_CHECKING:
    from tasks.retrieval.searchable_corpus import SearchableCorpus

AT_ONCE = 256
"""Pictures that are fetched together."""


class AuditConfig(Settings):
    """What counts as a copy."""

    residual: float = Field(default=SURE, gt=0)
    """What may differ after alignment, in units of the picture's contrast."""
    shade: float = Field(default=SAME_SHADE, gt=0, le=1)
    """By how much colours may differ, of 1."""
    clip: float | None = Field(default=None, gt=0, le=1)
    """Also pictures whose vectors have at least this cosine; None: none."""


class Touch(Row):
    """A picture of the corpus that is a copy of a benchmark's picture."""

    key: str
    """In the corpus."""
    picture: str
    """The benchmark picture's key."""
    bits: int | None = None
    """Hamming distance of the hashes; None where it was found by its vector."""
    residual: float | None = None
    cosine: float | None = None


class Part(Frozen):
    """Scores of some of the items."""

    items: int
    greedy: float
    """Share of greedy answers that are right, 0..1; 0 without items."""
    interval: Interval
    """95 %, clustered where items go together."""
    mean: float
    """Of the sampled answers, 0..1."""


class Split(Frozen):
    """A score by whether the corpus holds the item's picture."""

    everything: Part
    clean: Part
    touched: Part


def find_copies(pictures: Iterable[Picture], prints: Prints, config: AuditConfig) -> Iterator[Touch]:
    """Those that are copies of a printed picture; a picture that cannot be decoded is none."""
    for picture in pictures:
        twin = prints.twin(picture.image, config.residual, config.shade)
        if twin is not None:
            yield Touch(key=picture.key, picture=twin.name, bits=twin.bits, residual=round(twin.residual, 4))


def find_alike(library: SearchableCorpus, pictures: Sequence[Picture], least: float) -> list[Touch]:
    """Pictures of the corpus whose vector has at least this cosine with that of a benchmark picture."""
    vectors = library.config.clip.open().embed_images(picture.image for picture in pictures).astype(np.float32)
    scores, numbers = library.index.search(vectors, min(AT_ONCE, len(library)))
    keys = library.samples["key"].take(library.places).to_pylist()  # by the index's numbers, masked rows and all
    return [
        Touch(key=keys[number], picture=picture.key, cosine=round(float(score), 4))
        for picture, row, found in zip(pictures, scores, numbers, strict=True)
        for score, number in zip(row.tolist(), found.tolist(), strict=True)
        if score >= least and number >= 0
    ]


def audit(library: SearchableCorpus, items: Sequence[BenchmarkItem], config: AuditConfig) -> list[Touch]:
    """All copies of the items' pictures in a corpus, by key. One pass over the corpus; an hour or so for a million."""
    pictures = list({item.picture.key: item.picture for item in items}.values())
    prints = prints_of((picture.key, picture.image) for picture in pictures)
    found = list(find_copies(_read(library), prints, config))
    known = {(touch.key, touch.picture) for touch in found}
    alike = [] if config.clip is None else find_alike(library, pictures, config.clip)
    return sorted([*found, *(t for t in alike if (t.key, t.picture) not in known)], key=lambda t: (t.key, t.picture))


def touched_items(items: Sequence[BenchmarkItem], touches: Iterable[Touch]) -> frozenset[str]:
    """Ids of the items whose picture was found."""
    found = {touch.picture for touch in touches}
    return frozenset(item.id for item in items if item.picture.key in found)


def split_scores(scores: Sequence[Score], touched: frozenset[str]) -> Split:
    """A benchmark's score with and without the items whose pictures the corpus holds."""
    return Split(
        everything=_part(scores),
        clean=_part([score for score in scores if score.id not in touched]),
        touched=_part([score for score in scores if score.id in touched]),
    )


def _part(scores: Sequence[Score]) -> Part:
    right = [score.greedy_correct for score in scores]
    return Part(
        items=len(scores),
        greedy=float(np.mean(right)) if scores else 0.0,
        interval=wilson_of(right, clusters_of(scores)),
        mean=float(np.mean([score.sample_accuracy for score in scores])) if scores else 0.0,
    )


def _read(library: SearchableCorpus) -> Iterator[Picture]:
    keys = library.findable("key").to_pylist()
    with track(len(keys), "pictures") as progress:
        for start in range(0, len(keys), AT_ONCE):
            for picture in library.pictures(keys[start : start + AT_ONCE]):
                yield picture
                progress.advance()
