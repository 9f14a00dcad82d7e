"""Parsing of `<tag>content</tag>` in a model's text. White space around tags and content is ignored."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache


def contents(tag: str, text: str) -> list[str]:
    """The text between each `<tag>` and the next `</tag>`, with runs of white space replaced by one space."""
    return [" ".join(content.split()) for content in re.findall(f"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL)]


def consists_of(tags: Sequence[str], text: str) -> bool:
    """Whether the text is exactly these tags, once each, in this order, none empty, and nothing else."""
    match = _exactly(tuple(tags)).fullmatch(text)
    return match is not None and all(group.strip() for group in match.groups())


@lru_cache(maxsize=8)
def _exactly(tags: tuple[str, ...]) -> re.Pattern[str]:
    body = r"\s*".join(f"<{tag}>((?:(?!</?(?:{'|'.join(tags)})>).)*)</{tag}>" for tag in tags)
    return re.compile(rf"\s*{body}\s*", flags=re.DOTALL)
