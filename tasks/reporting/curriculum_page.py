"""The curriculum as one self-contained HTML file: questions beside their pictures, kept and rejected ones apart.

A model wrote the questions and answers, and pictures come from anywhere. So all text is escaped, pictures are
re-encoded unless they are small and of a common format, and the page's policy forbids it to load or run anything.
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
    """One picture and its labelled questions."""

    key: str
    source: str
    """The picture as a `data:` URL."""
    questions: Sequence[LabelledQuestion]


def curriculum_page(title: str, labelled: Sequence[LabelledQuestion], pictures: Mapping[str, Picture]) -> str:
    """The page as HTML. `pictures` holds the picture of every question by key."""
    kept = [question for question in labelled if question.reason is None]
    rejected = [question for question in labelled if question.reason is not None]
    sections = {"Kept": (kept, list(cards(kept, pictures))), "Rejected": (rejected, list(cards(rejected, pictures)))}
    return render("curriculum.html.j2", title=title, sections=sections)


def render(template: str, **values: object) -> str:
    """A template of this folder, rendered with these values; all of them are escaped."""
    import jinja2

    here = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here), autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template(template).render(values)


def cards(labelled: Sequence[LabelledQuestion], pictures: Mapping[str, Picture]) -> Iterator[PictureCard]:
    """Questions grouped by picture, in the order of the picture keys."""
    ordered = sorted(labelled, key=lambda question: (question.key, question.id))
    for key, group in groupby(ordered, lambda question: question.key):
        yield PictureCard(key, data_url(pictures[key]), list(group))


def data_url(picture: Picture) -> str:
    """The picture as a `data:` URL: its original bytes if it is a small PNG, JPEG or WebP, else a smaller JPEG."""
    from PIL import Image

    with Image.open(io.BytesIO(picture.data)) as header:
        kind = Image.MIME.get(header.format or "", "")
        unchanged = max(header.size) <= LARGEST and kind in ("image/png", "image/jpeg", "image/webp")
    if unchanged:
        return _encoded_url(kind, picture.data)
    image, buffer = picture.image.copy(), io.BytesIO()
    image.thumbnail((LARGEST, LARGEST))
    image.save(buffer, "JPEG", quality=85)
    return _encoded_url("image/jpeg", buffer.getvalue())


def _encoded_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
