"""Contamination: pictures of a benchmark in a corpus, and the scores with and without them.

The paper's pool contains sources that benchmarks reuse, and a Solver trained on a benchmark's pictures is not measured
by that benchmark. Copies (re-encoded, resized, slightly cropped) are found by perceptual hash and alignment (see
`corpora.copy_detection`), and with `clip` also by the retrieval model's vectors. An item is contaminated if the corpus
holds its picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from tasks.benchmarks import BenchmarkItem
from tasks.benchmarks.statistics import Interval, clustered_wilson, clusters_of
from tasks.corpora.copy_detection import MAX_RESIDUAL, MAX_SHADE, CopyDetector
from tasks.execution.progress import track
from tasks.records import Row, Score
from tasks.records.picture import Picture
from tasks.settings.base import Frozen, Settings

if TYPE_CHECKING:
    from tasks.retrieval.searchable_corpus import SearchableCorpus

BATCH = 256
"""Pictures fetched together, and neighbours searched for each benchmark picture."""


class ContaminationConfig(Settings):
    """Which pictures count as copies."""

    residual: float = Field(default=MAX_RESIDUAL, gt=0)
    """Greatest difference after alignment, in units of the picture's contrast."""
    shade: float = Field(default=MAX_SHADE, gt=0, le=1)
    """Greatest difference of colours, as a share of the full range."""
    clip: float | None = Field(default=None, gt=0, le=1)
    """Least cosine at which vectors of two pictures count as a copy; None compares no vectors."""


class ContaminatedPicture(Row):
    """A picture of the corpus that is a copy of a benchmark's picture."""

    key: str
    """The corpus picture's key."""
    picture: str
    """The benchmark picture's key."""
    bits: int | None = None
    """Hamming distance of the two hashes; None if the copy was found by its vector."""
    residual: float | None = None
    cosine: float | None = None


class SubsetScore(Frozen):
    """Scores of some of the items."""

    items: int
    greedy: float
    """Share of right greedy answers, 0..1; 0 without items."""
    interval: Interval
    """95 % interval of `greedy`, over clusters of dependent items."""
    mean: float
    """Mean accuracy of the sampled answers, 0..1."""


class ContaminationScores(Frozen):
    """A benchmark's score on all items, on clean items, and on contaminated items."""

    everything: SubsetScore
    clean: SubsetScore
    contaminated: SubsetScore


def find_contamination(
    corpus: SearchableCorpus, items: Sequence[BenchmarkItem], config: ContaminationConfig
) -> list[ContaminatedPicture]:
    """All copies of the items' pictures in a corpus, sorted by key.

    One pass over the corpus: about an hour for a million pictures.
    """
    pictures = list({item.picture.key: item.picture for item in items}.values())
    detector = CopyDetector.of((picture.key, picture.image) for picture in pictures)
    copies = list(find_copies(_corpus_pictures(corpus), detector, config))
    known = {(copy.key, copy.picture) for copy in copies}
    similar = [] if config.clip is None else find_similar(corpus, pictures, config.clip)
    copies += [picture for picture in similar if (picture.key, picture.picture) not in known]
    return sorted(copies, key=lambda copy: (copy.key, copy.picture))


def find_copies(
    pictures: Iterable[Picture], detector: CopyDetector, config: ContaminationConfig
) -> Iterator[ContaminatedPicture]:
    """Pictures that are copies of a hashed picture. A picture that cannot be decoded is no copy."""
    for picture in pictures:
        match = detector.match(picture.image, config.residual, config.shade)
        if match is not None:
            yield ContaminatedPicture(
                key=picture.key, picture=match.name, bits=match.bits, residual=round(match.residual, 4)
            )


def find_similar(corpus: SearchableCorpus, pictures: Sequence[Picture], least: float) -> list[ContaminatedPicture]:
    """Pictures of the corpus whose vector has at least the cosine `least` with a benchmark picture's vector."""
    vectors = corpus.config.clip.open().embed_images(picture.image for picture in pictures).astype(np.float32)
    scores, numbers = corpus.index.search(vectors, min(BATCH, len(corpus)))
    keys = corpus.samples["key"].take(corpus.vector_rows).to_pylist()  # by index number, masked rows included
    return [
        ContaminatedPicture(key=keys[number], picture=picture.key, cosine=round(float(score), 4))
        for picture, row_scores, row_numbers in zip(pictures, scores, numbers, strict=True)
        for score, number in zip(row_scores.tolist(), row_numbers.tolist(), strict=True)
        if score >= least and number >= 0
    ]


def contaminated_items(items: Sequence[BenchmarkItem], copies: Iterable[ContaminatedPicture]) -> frozenset[str]:
    """Ids of the items whose picture is in the corpus."""
    keys = {copy.picture for copy in copies}
    return frozenset(item.id for item in items if item.picture.key in keys)


def split_scores(scores: Sequence[Score], contaminated: frozenset[str]) -> ContaminationScores:
    """A benchmark's scores by whether the item (`contaminated`: ids) is contaminated."""
    return ContaminationScores(
        everything=_subset_score(scores),
        clean=_subset_score([score for score in scores if score.id not in contaminated]),
        contaminated=_subset_score([score for score in scores if score.id in contaminated]),
    )


def _subset_score(scores: Sequence[Score]) -> SubsetScore:
    right = [score.greedy_correct for score in scores]
    return SubsetScore(
        items=len(scores),
        greedy=float(np.mean(right)) if scores else 0.0,
        interval=clustered_wilson(right, clusters_of(scores)),
        mean=float(np.mean([score.sample_accuracy for score in scores])) if scores else 0.0,
    )


def _corpus_pictures(corpus: SearchableCorpus) -> Iterator[Picture]:
    keys = corpus.findable("key").to_pylist()
    with track(len(keys), "pictures") as progress:
        for start in range(0, len(keys), BATCH):
            for picture in corpus.pictures(keys[start : start + BATCH]):
                yield picture
                progress.advance()
