"""The README is short, and the relative links of all pages resolve."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.house.source import Offence, Page

LONGEST_README = 130
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
ELSEWHERE = re.compile(r"[a-z][a-z+.-]*:")
"""The start of a link with a scheme, which is not looked up."""
FENCE = re.compile(r"^\s*```")


def long_readme(pages: Sequence[Page]) -> Iterator[Offence]:
    """The root's README if it is too long."""
    for page in pages:
        if page.path == "README.md" and len(page.lines) > LONGEST_README:
            advice = f"keep {LONGEST_README} and move the rest beside what it describes"
            yield Offence(page.path, len(page.lines), f"{len(page.lines)} lines", advice)


def broken_links(pages: Sequence[Page], root: Path) -> Iterator[Offence]:
    """Relative links to files and headings that do not exist."""
    for page in pages:
        for line, text in prose(page):
            for link in LINK.findall(text):
                if not ELSEWHERE.match(link) and (problem := _problem(link, page, root)):
                    yield Offence(page.path, line, problem, "mend the link")


def prose(page: Page) -> Iterator[tuple[int, str]]:
    """Numbered lines outside fenced code blocks."""
    fenced = False
    for number, text in enumerate(page.lines, 1):
        if FENCE.match(text):
            fenced = not fenced
        elif not fenced:
            yield number, text


def _problem(link: str, page: Page, root: Path) -> str | None:
    path, _, anchor = link.partition("#")
    target = (root / page.path).parent / path if path else root / page.path
    if not target.exists():
        return f"{link} leads to no file"
    if anchor and target.suffix == ".md" and anchor not in anchors(target.read_text()):
        return f"{link} leads to no heading"
    return None


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to a page's headings; repeated headings are numbered."""
    titles = [line.lstrip("#").strip() for _, line in prose(Page("", text)) if re.match(r"#+ ", line)]
    slugs = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
    seen: Counter[str] = Counter()
    found = set()
    for slug in slugs:
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found
