"""What a text finds, as one HTML file that needs nothing else: a contact sheet, the best picture first.

Captions are text from the open web and pictures come from anywhere, so what holds for `page` holds here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.corpora.sample import Sample
from tasks.records.picture import Picture
from tasks.reporting.page import data_address, render
from tasks.retrieval import Hit, SearchableCorpus


@dataclass(frozen=True)
class ResultCard:
    """One picture that was found."""

    sample: Sample
    score: float
    """Cosine of the text and the picture."""
    source: str
    """The picture as a `data:` address."""
    first: str
    """Key of the first picture of its group of near-duplicates."""
    alike: int
    """Other pictures in the group."""


def sheet(text: str, corpus: str, library: SearchableCorpus, hits: Sequence[Hit]) -> str:
    """The page of what `text` found in the corpus at the address `corpus`."""
    pictures = library.pictures([hit.key for hit in hits])
    cards = [card(library, hit, picture) for hit, picture in zip(hits, pictures, strict=True)]
    return render("sheet.html.j2", text=text, corpus=corpus, pictures=len(library), cards=cards)


def card(library: SearchableCorpus, hit: Hit, picture: Picture) -> ResultCard:
    """What the sheet says of a picture."""
    import pyarrow.compute as pc

    sample = library.sample(hit.key)
    first = sample.group or sample.key
    alike = pc.sum(pc.equal(library.samples["group"], first)).as_py() or 0
    return ResultCard(sample, hit.score, data_address(picture), first, alike)
