"""3: the trained Searcher writes many queries; the pictures that they retrieve form the round's pool.

Queries are spread over the domains by the frontier's weights. A picture that several queries find belongs to the one
that it fits best; the other finds stay in the file as `duplicate`, and an unusable query stays with its reason.
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
class Sought:
    """What the Searcher wrote for a domain, read."""

    domain: str
    query: str | Reject
    raw: str


def apportion(weights: Sequence[float], total: int) -> list[int]:
    """`total` as whole numbers in proportion to the weights: largest remainders, ties to the first."""
    exact = np.asarray(weights, dtype=np.float64) / sum(weights) * total
    counts = np.floor(exact).astype(int)
    order = np.argsort(counts - exact, kind="stable")
    counts[order[: total - counts.sum()]] += 1
    return [int(count) for count in counts]


def read_query(domain: str, text: str) -> Sought:
    """One of the Searcher's texts."""
    parsed = searcher.parse(text)
    return Sought(domain, parsed if isinstance(parsed, Reject) else parsed.text, text)


def finds(sought: Sequence[Sought], hits: Sequence[Sequence[Hit]]) -> list[SearchResult]:
    """A row for every picture of every query (`hits[i]` for query i, best first), and one for an unusable query."""
    rows = [row for one, found in zip(sought, hits, strict=True) for row in _rows(one, found)]
    best = _best(rows)
    return [row if row.reason or best[row.key] is row else _with_reason(row, DUPLICATE) for row in rows]


def pool_of(rows: Iterable[SearchResult]) -> list[SearchResult]:
    """The finds that count: one for each picture."""
    return [row for row in rows if row.reason is None]


def search(library: SearchableCorpus, sought: Sequence[Sought], top_k: int) -> list[SearchResult]:
    """Retrieve for every usable query."""
    usable = [one.query for one in sought if isinstance(one.query, str)]
    found = iter(library.search(usable, top_k))
    return finds(sought, [next(found) if isinstance(one.query, str) else [] for one in sought])


def at_random(rows: Sequence[SearchResult], keys: Sequence[str], seed: int) -> list[SearchResult]:
    """The pool's pictures replaced by others, drawn from `keys` without repeats: the passive control arm.

    Domains and numbers stay, so that quotas work alike in both arms; the domain then says nothing of the picture.
    """
    drawn = iter(Random(seed).sample(list(keys), len(pool_of(rows))))
    return [row if row.reason else row.model_copy(update={"key": next(drawn), "rank": 0, "score": 0.0}) for row in rows]


def _rows(sought: Sought, hits: Sequence[Hit]) -> Iterator[SearchResult]:
    if isinstance(sought.query, Reject):
        yield SearchResult(
            domain=sought.domain, query=sought.raw, key=None, rank=0, score=0.0, reason=sought.query.reason
        )
        return
    for rank, hit in enumerate(hits, 1):
        yield SearchResult(
            domain=sought.domain, query=sought.query, key=hit.key, rank=rank, score=hit.score, reason=None
        )


def _best(rows: Iterable[SearchResult]) -> dict[str | None, SearchResult]:
    """For each picture the find with the highest score; the first of equals."""
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
    """The round's pool of pictures, with every find that is not in it."""
    weights = {row.domain: row.weight for row in frontier.read()}
    counts = apportion([weights[domain.name] for domain in domains], config.queries)
    with team.open(seed_of(seed, "search")) as sampler:
        texts = sampler.write_queries(domains, counts, config.draw)
    sought = [read_query(domain.name, text) for domain, group in zip(domains, texts, strict=True) for text in group]
    library = corpus.open()
    rows = search(library, sought, config.top_k)
    if config.passive:
        rows = at_random(rows, library.findable("key").to_pylist(), seed_of(seed, "passive"))
    return Output(rows, Counter(row.reason or "kept" for row in rows))
