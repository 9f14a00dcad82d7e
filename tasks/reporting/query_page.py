"""The search results of a query as one self-contained HTML file: a contact sheet, the best picture first.

Captions and pictures come from the open web. So all text is escaped, and the page's policy forbids it to load or run
anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.corpora.sample import Sample
from tasks.records.picture import Picture
from tasks.reporting.html_pictures import data_url
from tasks.retrieval import Hit, SearchableCorpus


@dataclass(frozen=True)
class ResultCard:
    """One search result on the contact sheet."""

    sample: Sample
    score: float
    """Cosine of the query and the picture."""
    source: str
    """The picture as a `data:` URL."""
    group: str
    """Key of the first picture of its group of near-duplicates."""
    group_size: int
    """Number of pictures in the group; 1 without near-duplicates."""


def results_page(query: str, address: str, corpus: SearchableCorpus, hits: Sequence[Hit]) -> str:
    """The page as HTML, of the hits of `query` in the corpus at `address`."""
    pictures = corpus.pictures([hit.key for hit in hits])
    cards = [card(corpus, hit, picture) for hit, picture in zip(hits, pictures, strict=True)]
    return _render("query.html.j2", query=query, address=address, pictures=len(corpus), cards=cards)


def _render(template: str, **values: object) -> str:
    """A template of this folder, rendered with these values; all of them are escaped."""
    import jinja2

    here = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here), autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template(template).render(values)


def card(corpus: SearchableCorpus, hit: Hit, picture: Picture) -> ResultCard:
    """The card of one hit."""
    import pyarrow.compute as pc

    sample = corpus.sample(hit.key)
    group = sample.group or sample.key
    others = pc.sum(pc.equal(corpus.samples["group"], group)).as_py() or 0
    return ResultCard(sample, hit.score, data_url(picture), group, others + 1)
