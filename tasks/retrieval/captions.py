"""Keyword search in captions (BM25), and the fusion of two rankings.

Pictures of text, charts and tables are often found by a word of their caption where embedding vectors blur that word.
The index is SQLite's FTS5, in memory: 100 000 captions take about a second. Rankings are fused by reciprocal rank
(Cormack et al. 2009, k = 60), which needs no common scale of scores.
"""

from __future__ import annotations

import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence

RANK_CONSTANT = 60


class CaptionIndex:
    """A BM25 index of captions, each with a number."""

    def __init__(self, captions: Iterable[tuple[int, str]]) -> None:
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.execute(
            "create virtual table captions using fts5(caption, content='', tokenize='porter unicode61')"
        )
        self._database.executemany("insert into captions(rowid, caption) values (?, ?)", captions)

    def search(self, text: str, limit: int) -> list[int]:
        """Numbers of at most `limit` captions that share a word with the text, best first; ties by number."""
        words = " OR ".join(f'"{word}"' for word in dict.fromkeys(re.findall(r"\w+", text.lower())))
        if not words:
            return []
        rows = self._database.execute(
            "select rowid from captions where captions match ? order by bm25(captions), rowid limit ?", (words, limit)
        )
        return [number for (number,) in rows]


def fuse_rankings(rankings: Sequence[Sequence[int]]) -> list[int]:
    """Merge rankings into one, by the sum of 1 / (60 + rank); ties in the order of the first ranking."""
    scores: dict[int, float] = defaultdict(float)
    for ranking in rankings:
        for rank, number in enumerate(ranking, 1):
            scores[number] += 1 / (RANK_CONSTANT + rank)
    return sorted(scores, key=lambda number: -scores[number])
