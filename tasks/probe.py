"""Measure where the Solver is uncertain, by domain, and weight the domains by it.

For each domain a few pictures are retrieved by the domain's name and focus words. The current Questioner writes one
question about each, and the Solver answers it m times. The domain difficulty is the mean of 1 - 2 |p - 1/2| over the
questions, where p is the agreement; with the reward preset `window` it is the mean of that preset's difficulty, without
its validity. A picture without a usable question counts as difficulty 0: it teaches nothing.

Departure: the paper samples domains evenly; here a share `1 - smoothing` of the weight follows the domain difficulty.
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
from tasks.players.sampler import Sampler, agreements_of
from tasks.players.team import Team
from tasks.records import DomainDifficulty
from tasks.retrieval.searchable_corpus import SearchableCorpus
from tasks.rewards import Preset, difficulty
from tasks.roles import questioner
from tasks.roles.searcher import Domain
from tasks.settings.seeds import seed_of
from tasks.store import Output, Place


def domain_difficulty(
    domain: str, agreements: Sequence[float | None], weight: float, config: ProbeConfig, seed: int
) -> DomainDifficulty:
    """The row of one domain; `agreements` has None for a picture without a usable question."""
    measured = [agreement for agreement in agreements if agreement is not None]
    difficulties = difficulties_of(agreements, config.difficulty)
    low, high = bootstrap_interval(difficulties, config.resamples, seed)
    return DomainDifficulty(
        domain=domain,
        questions=len(agreements),
        agreement=float(np.mean(measured)) if measured else 0.0,
        difficulty=float(difficulties.mean()) if len(difficulties) else 0.0,
        low=low,
        high=high,
        weight=weight,
    )


def difficulties_of(agreements: Sequence[float | None], preset: Preset) -> NDArray[np.float64]:
    """The difficulty of each agreement, and 0 for None."""
    asked = np.array([agreement is not None for agreement in agreements], dtype=bool)
    return np.where(asked, difficulty([agreement or 0.0 for agreement in agreements], preset), 0.0)


def weights(difficulties: Sequence[float], smoothing: float) -> list[float]:
    """smoothing / D + (1 - smoothing) d / sum(d) for D domains: shares that sum to 1, and are even if all d are 0."""
    values = np.asarray(difficulties, dtype=np.float64)
    even = np.full(len(values), 1 / len(values))
    proportional = values / values.sum() if values.sum() > 0 else even
    return [float(weight) for weight in smoothing * even + (1 - smoothing) * proportional]


def frontier(
    agreements: Mapping[str, Sequence[float | None]], config: ProbeConfig, seed: int
) -> list[DomainDifficulty]:
    """The rows of all domains, from the agreements by domain and in their order."""
    preset = config.difficulty
    means = [float(difficulties_of(values, preset).mean()) if values else 0.0 for values in agreements.values()]
    shares = weights(means, config.smoothing)
    return [
        domain_difficulty(domain, values, share, config, seed_of(seed, domain))
        for (domain, values), share in zip(agreements.items(), shares, strict=True)
    ]


def probe(
    sampler: Sampler, corpus: SearchableCorpus, domains: Sequence[Domain], config: ProbeConfig
) -> dict[str, list[float | None]]:
    """The agreements by domain, on one question about each picture. All domains are sampled in one batch."""
    results = corpus.search([domain.query for domain in domains], config.pictures)
    domain_names = [domain.name for domain, hits in zip(domains, results, strict=True) for _ in hits]
    pictures = corpus.pictures([hit.key for hits in results for hit in hits])
    questions = [questioner.parse(text) for (text,) in sampler.write_questions(pictures, 1, config.draw)]
    measured = agreements_of(pictures, questions, lambda asked: sampler.answer(asked, config.answers, config.draw))
    agreements: dict[str, list[float | None]] = {domain.name: [] for domain in domains}
    for name, agreement in zip(domain_names, measured, strict=True):
        agreements[name].append(agreement)
    return agreements


@stage("probe", DomainDifficulty, version=2, gpu=True)
def probe_frontier(
    place: Place, config: ProbeConfig, team: Team, corpus: CorpusHandle, domains: tuple[Domain, ...], seed: int
) -> Output[DomainDifficulty]:
    """The Solver's frontier: one row per domain."""
    with team.open(seed_of(seed, "probe")) as sampler:
        agreements = probe(sampler, corpus.open(), domains, config)
    counters = Counter("rejected" if value is None else "asked" for values in agreements.values() for value in values)
    return Output(frontier(agreements, config, seed), counters)
