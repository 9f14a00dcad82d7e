"""The curriculum as one HTML file that needs nothing else: questions beside their pictures, kept and rejected apart.

Questions and answers are text that a model wrote, and pictures come from anywhere: everything is escaped, pictures are
re-encoded unless a browser shows them as they are, and the page may load or run nothing.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tasks.records import LabelledQuestion
from tasks.records.picture import Picture

LARGEST = 384
"""Longest side of a shown picture, in pixels; larger ones are scaled down."""


@dataclass(frozen=True)
class PictureCard:
    """One picture and the questions about it."""

    key: str
    source: str
    """The picture as a `data:` address."""
    verdicts: Sequence[LabelledQuestion]


def page(title: str, verdicts: Sequence[LabelledQuestion], pictures: Mapping[str, Picture]) -> str:
    """The page. `pictures` has every key that the verdicts name."""
    kept = [verdict for verdict in verdicts if verdict.reason is None]
    rejected = [verdict for verdict in verdicts if verdict.reason is not None]
    sections = {"Kept": (kept, list(cards(kept, pictures))), "Rejected": (rejected, list(cards(rejected, pictures)))}
    return render("curriculum.html.j2", title=title, sections=sections)


def render(template: str, **values: object) -> str:
    """A template of this folder with these values, all of them escaped."""
    import jinja2

    here = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here), autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template(template).render(values)


def cards(verdicts: Sequence[LabelledQuestion], pictures: Mapping[str, Picture]) -> Iterator[PictureCard]:
    """Questions grouped by picture, in the order of the keys."""
    for key, group in groupby(sorted(verdicts, key=lambda verdict: (verdict.key, verdict.id)), lambda one: one.key):
        yield PictureCard(key, data_address(pictures[key]), list(group))


def data_address(picture: Picture) -> str:
    """The original bytes where they are small and of a kind that every browser shows, else a smaller JPEG."""
    from PIL import Image

    with Image.open(io.BytesIO(picture.data)) as header:
        kind = Image.MIME.get(header.format or "", "")
        as_it_is = max(header.size) <= LARGEST and kind in ("image/png", "image/jpeg", "image/webp")
    if as_it_is:
        return _address(kind, picture.data)
    image, buffer = picture.image.copy(), io.BytesIO()
    image.thumbnail((LARGEST, LARGEST))
    image.save(buffer, "JPEG", quality=85)
    return _address("image/jpeg", buffer.getvalue())


def _address(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
