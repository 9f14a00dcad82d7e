"""1: where is the Solver uncertain? Its frontier by domain, and how often the Searcher is sent where.

For each domain a few pictures are found by the domain's own words, the current Questioner asks about each, and the
Solver answers m times. A domain's difficulty is the mean of 1 - 2 |p - 1/2| over its questions. A picture about which
nothing could be asked counts as difficulty 0: it does not teach.

Departure: the paper samples domains evenly; here a share `1 - smoothing` of the weight follows the difficulty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.benchmarks.statistics import bootstrap_interval
from tasks.config import ProbeConfig
from tasks.corpus import CorpusHandle
from tasks.execution.stage import stage
from tasks.players.sampler import Sampler, agreements_on
from tasks.players.team import Team
from tasks.records import DomainDifficulty
from tasks.retrieval.searchable_corpus import SearchableCorpus
from tasks.rewards import difficulty
from tasks.roles import questioner
from tasks.roles.searcher import Domain
from tasks.settings.seeds import seed_of
from tasks.store import Output, Place


def estimate(
    domain: str, agreements: Sequence[float | None], weight: float, resamples: int, seed: int
) -> DomainDifficulty:
    """One domain's row; `agreements` has None where nothing could be asked."""
    asked = [agreement for agreement in agreements if agreement is not None]
    difficulties = difficulties_of(agreements)
    low, high = bootstrap_interval(difficulties, resamples, seed)
    return DomainDifficulty(
        domain=domain,
        questions=len(agreements),
        agreement=float(np.mean(asked)) if asked else 0.0,
        difficulty=float(difficulties.mean()) if len(difficulties) else 0.0,
        low=low,
        high=high,
        weight=weight,
    )


def difficulties_of(agreements: Sequence[float | None]) -> NDArray[np.float64]:
    """1 - 2 |p - 1/2|, and 0 where nothing could be asked."""
    return difficulty([0.0 if agreement is None else agreement for agreement in agreements], "paper")


def weights(difficulties: Sequence[float], smoothing: float) -> list[float]:
    """smoothing / D + (1 - smoothing) d / sum(d): shares that sum to 1; even where nothing is difficult."""
    values = np.asarray(difficulties, dtype=np.float64)
    even = np.full(len(values), 1 / len(values))
    leaning = values / values.sum() if values.sum() > 0 else even
    return [float(weight) for weight in smoothing * even + (1 - smoothing) * leaning]


def frontier(
    agreements: Mapping[str, Sequence[float | None]], config: ProbeConfig, seed: int
) -> list[DomainDifficulty]:
    """Rows in the order of `agreements`, from every domain's agreements."""
    means = [float(difficulties_of(values).mean()) if values else 0.0 for values in agreements.values()]
    shares = weights(means, config.smoothing)
    return [
        estimate(domain, values, share, config.resamples, seed_of(seed, domain))
        for (domain, values), share in zip(agreements.items(), shares, strict=True)
    ]


def probe(
    sampler: Sampler, library: SearchableCorpus, domains: Sequence[Domain], config: ProbeConfig
) -> dict[str, list[float | None]]:
    """Agreements by domain, on one question about each picture; all domains are asked about in one batch."""
    found = library.search([domain.words for domain in domains], config.pictures)
    owners = [domain.name for domain, hits in zip(domains, found, strict=True) for _ in hits]
    pictures = library.pictures([hit.key for hits in found for hit in hits])
    drafts = [questioner.parse(text) for (text,) in sampler.ask(pictures, 1, config.draw)]
    measured = agreements_on(pictures, drafts, lambda posed: sampler.answer(posed, config.answers, config.draw))
    agreements: dict[str, list[float | None]] = {domain.name: [] for domain in domains}
    for owner, agreement in zip(owners, measured, strict=True):
        agreements[owner].append(agreement)
    return agreements


@stage("probe", DomainDifficulty, version=2, gpu=True)
def probe_frontier(
    place: Place, config: ProbeConfig, team: Team, corpus: CorpusHandle, domains: tuple[Domain, ...], seed: int
) -> Output[DomainDifficulty]:
    """The Solver's frontier, one row a domain."""
    with team.open(seed_of(seed, "probe")) as sampler:
        agreements = probe(sampler, corpus.open(), domains, config)
    counters = Counter("rejected" if value is None else "asked" for values in agreements.values() for value in values)
    return Output(frontier(agreements, config, seed), counters)
