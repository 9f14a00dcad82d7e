"""Captions searched by their words (BM25), and two rankings made one.

Pictures of text, charts and tables are often found by a word of their caption where vectors blur it. The index is
SQLite's FTS5, in memory: 100 000 captions take about a second. Rankings are fused by reciprocal rank (Cormack et al.
2009, k = 60), which needs no common scale.
"""

from __future__ import annotations

import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence

RANK_CONSTANT = 60


class Captions:
    """Texts by number."""

    def __init__(self, captions: Iterable[tuple[int, str]]) -> None:
        self._rows = sqlite3.connect(":memory:", check_same_thread=False)
        self._rows.execute("create virtual table captions using fts5(caption, content='', tokenize='porter unicode61')")
        self._rows.executemany("insert into captions(rowid, caption) values (?, ?)", captions)

    def search(self, text: str, most: int) -> list[int]:
        """Numbers of the captions with the most telling words of the text, best first; of equals the first."""
        words = " OR ".join(f'"{word}"' for word in dict.fromkeys(re.findall(r"\w+", text.lower())))
        if not words:
            return []
        found = self._rows.execute(
            "select rowid from captions where captions match ? order by bm25(captions), rowid limit ?", (words, most)
        )
        return [number for (number,) in found]


def fused(rankings: Sequence[Sequence[int]]) -> list[int]:
    """One ranking of several: by the sum of 1 / (60 + rank), of equals in the order of the first ranking."""
    scores: dict[int, float] = defaultdict(float)
    for ranking in rankings:
        for rank, number in enumerate(ranking, 1):
            scores[number] += 1 / (RANK_CONSTANT + rank)
    return sorted(scores, key=lambda number: -scores[number])
