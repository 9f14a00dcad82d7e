"""The trained Searcher writes many queries, and the pictures that they retrieve form the round's pool.

Queries are spread over the domains by their weights. A picture that several queries retrieve is kept for the query with
the highest score. Its other search results stay in the file as `duplicate`, and a rejected query with its reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from tasks.config import SearchConfig
from tasks.corpus import CorpusHandle
from tasks.execution.stage import stage
from tasks.players.team import Team
from tasks.records import DomainDifficulty, Reject, SearchResult
from tasks.retrieval.searchable_corpus import Hit, SearchableCorpus
from tasks.roles import searcher
from tasks.roles.searcher import Domain
from tasks.settings.seeds import seed_of
from tasks.store import Artifact, Output, Place

DUPLICATE = "duplicate"


@dataclass(frozen=True)
class WrittenQuery:
    """A text that the Searcher wrote for a domain, and the query parsed from it."""

    domain: str
    query: str | Reject
    raw: str
    """The Searcher's text before parsing."""


def apportion(weights: Sequence[float], total: int) -> list[int]:
    """`total` split into whole numbers in proportion to the weights, by largest remainders; ties go to the first."""
    exact = np.asarray(weights, dtype=np.float64) / sum(weights) * total
    counts = np.floor(exact).astype(int)
    order = np.argsort(counts - exact, kind="stable")
    counts[order[: total - counts.sum()]] += 1
    return [int(count) for count in counts]


def read_query(domain: str, text: str | Reject) -> WrittenQuery:
    """Parse one of the Searcher's texts."""
    parsed = searcher.parse(text)
    return WrittenQuery(
        domain, parsed if isinstance(parsed, Reject) else parsed.text, "" if isinstance(text, Reject) else text
    )


def search_results(queries: Sequence[WrittenQuery], hits: Sequence[Sequence[Hit]]) -> list[SearchResult]:
    """A row for every hit of every query (`hits[i]` of `queries[i]`, best first), and one for every rejected query."""
    rows = [row for query, found in zip(queries, hits, strict=True) for row in _rows(query, found)]
    best = _best(rows)
    return [row if row.reason or best[row.key] is row else _with_reason(row, DUPLICATE) for row in rows]


def pool_of(rows: Iterable[SearchResult]) -> list[SearchResult]:
    """The kept search results: one per picture."""
    return [row for row in rows if row.reason is None]


def search(corpus: SearchableCorpus, queries: Sequence[WrittenQuery], top_k: int) -> list[SearchResult]:
    """The search results of all queries, `top_k` pictures each; rejected queries retrieve nothing."""
    hits = iter(corpus.search([written.query for written in queries if isinstance(written.query, str)], top_k))
    return search_results(queries, [next(hits) if isinstance(written.query, str) else [] for written in queries])


def random_pool(rows: Sequence[SearchResult], keys: Sequence[str], seed: int) -> list[SearchResult]:
    """The passive control arm: the pool's pictures replaced by pictures drawn from `keys` at random, without repeats.

    Domains and counts stay, so that quotas act alike in both arms. The domain then says nothing about the picture.
    """
    drawn = iter(Random(seed).sample(list(keys), len(pool_of(rows))))
    return [row if row.reason else row.model_copy(update={"key": next(drawn), "rank": 0, "score": 0.0}) for row in rows]


def _rows(written: WrittenQuery, hits: Sequence[Hit]) -> Iterator[SearchResult]:
    domain, query = written.domain, written.query
    if isinstance(query, Reject):
        yield SearchResult(domain=domain, query=written.raw, key=None, rank=0, score=0.0, reason=query.reason)
        return
    for rank, hit in enumerate(hits, 1):
        yield SearchResult(domain=domain, query=query, key=hit.key, rank=rank, score=hit.score, reason=None)


def _best(rows: Iterable[SearchResult]) -> dict[str | None, SearchResult]:
    """The search result with the highest score by picture; the first of equal scores."""
    best: dict[str | None, SearchResult] = {}
    for row in rows:
        if row.key not in best or row.score > best[row.key].score:
            best[row.key] = row
    return best


def _with_reason(row: SearchResult, reason: str) -> SearchResult:
    return row.model_copy(update={"reason": reason})


@stage("search", SearchResult, version=2, gpu=True)
def search_images(
    place: Place,
    config: SearchConfig,
    team: Team,
    frontier: Artifact[DomainDifficulty],
    corpus: CorpusHandle,
    domains: tuple[Domain, ...],
    seed: int,
) -> Output[SearchResult]:
    """The search results of the round; those without a reason are its pool."""
    weights = {row.domain: row.weight for row in frontier.read()}
    counts = apportion([weights[domain.name] for domain in domains], config.queries)
    with team.open(seed_of(seed, "search")) as sampler:
        texts = sampler.write_queries(domains, counts, config.draw)
    queries = [read_query(domain.name, text) for domain, group in zip(domains, texts, strict=True) for text in group]
    searchable = corpus.open()
    rows = search(searchable, queries, config.top_k)
    if config.passive:
        rows = random_pool(rows, searchable.findable("key").to_pylist(), seed_of(seed, "passive"))
    return Output(rows, Counter(row.reason or "kept" for row in rows))
