"""10: what the round did, for people: Markdown, one picture, and the curriculum beside its pictures.

Where the corpus is the micro world, its oracle says how often the pseudo-labels were right. That is measured here,
after everything that trains, and used for nothing else.
"""

from __future__ import annotations

import json
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import ConfigDict

from tasks.benchmarks.statistics import Gain, holm
from tasks.config import FilterConfig, PromoteConfig
from tasks.corpus import CorpusHandle
from tasks.execution.stage import stage, workspace
from tasks.filter import curriculum
from tasks.grading import equal
from tasks.labelling import gold
from tasks.promote import Comparison, compare_all
from tasks.records import Decision, DomainDifficulty, LabelledQuestion, Question, Score, SearchResult, Step
from tasks.reporting import chart, text
from tasks.reporting.facts import Change, Facts, LabelAccuracy, reach_of, replies_of
from tasks.reporting.page import page
from tasks.retrieval.searchable_corpus import SearchableCorpus
from tasks.search import pool_of
from tasks.settings.base import Frozen
from tasks.store import Artifact, Manifest, Output, Place
from tasks.world import oracle, parse_url

SHOWN = 300
"""Most questions of either kind on the report's page; `active-zero curriculum --format html` shows all."""

FILES = ("summary.txt", "scores.json", "report.md", text.CHART, "curriculum.html")
"""Attached to the report; `scores.json` has the changes as records."""

log = logging.getLogger(__name__)


def label_accuracy(verdicts: Sequence[LabelledQuestion], urls: Mapping[str, str | None]) -> list[LabelAccuracy]:
    """How often the labels of kept questions are right, by tenths of agreement; empty without pictures of the world.

    `urls` names the addresses of the pictures by their keys; other pictures than the world's are left out.
    """
    groups: dict[int, list[LabelledQuestion]] = defaultdict(list)
    for verdict in curriculum(verdicts):
        if parse_url(urls.get(verdict.key) or "") is not None:
            groups[_tenth(verdict.agreement)].append(verdict)
    return [band(tenth, groups[tenth], urls) for tenth in sorted(groups)]


def band(tenth: int, verdicts: Sequence[LabelledQuestion], urls: Mapping[str, str | None]) -> LabelAccuracy:
    """The row of one band; labels are compared as they are everywhere."""
    truths = [oracle.answer(urls[verdict.key] or "", verdict.text) for verdict in verdicts]
    right = [
        truth is not None and verdict.label is not None and bool(equal(verdict.label, truth))
        for verdict, truth in zip(verdicts, truths, strict=True)
    ]
    answerable = sum(truth is not None for truth in truths)
    return LabelAccuracy(
        low=tenth / 10, high=(tenth + 1) / 10, questions=len(verdicts), answerable=answerable, right=sum(right)
    )


def gold_accuracy(verdicts: Sequence[LabelledQuestion], config: FilterConfig) -> list[LabelAccuracy]:
    """How often the labels of gold items in the window are right, by tenths of agreement."""
    groups: dict[int, list[LabelledQuestion]] = defaultdict(list)
    for one in gold.in_window(verdicts, config):
        groups[_tenth(one.agreement)].append(one)
    return [
        LabelAccuracy(
            low=tenth / 10,
            high=(tenth + 1) / 10,
            questions=len(group),
            answerable=len(group),
            right=sum(map(gold.right, group)),
        )
        for tenth, group in sorted(groups.items())
    ]


def _tenth(agreement: float) -> int:
    """The band of an agreement: 0.7 belongs to 0.7 to 0.8 although 0.7 * 10 is a little more or less; 1 to the last."""
    return min(9, math.floor(agreement * 10 + 1e-9))


def changes(before: Sequence[Score], after: Sequence[Score], resamples: int, seed: int) -> list[Change]:
    """Mean of the samples and greedy, before and after, for every benchmark that was measured; the gate comes last.

    The gate decided, so it is the less telling one. Greedy's p values are adjusted for the number of benchmarks.
    """
    told = compare_all(before, after, resamples, seed)
    adjusted = dict(zip(told, holm([one.test.p for one in told.values()]), strict=True))
    return [
        change
        for name, one in reversed(told.items())
        for change in _changes_on(name, one, adjusted[name], len(after[0].samples))
    ]


def _changes_on(name: str, one: Comparison, p: float, samples: int) -> tuple[Change, Change]:
    return _change(name, f"mean of {samples}", one, one.mean, None), _change(name, "greedy", one, one.greedy, p)


def _change(benchmark: str, figure: str, one: Comparison, figures: Gain, p: float | None) -> Change:
    return Change(benchmark, figure, one.items, figures.before, figures.after, figures.low, figures.high, p)


def domains(
    library: SearchableCorpus, finds: Sequence[SearchResult], verdicts: Sequence[LabelledQuestion]
) -> dict[str, Counter[str]]:
    """Counts by domain for corpus, pool and curriculum.

    The world's pictures count for the domain that they show; any others for the one that the Searcher was sent to, and
    of their corpus nothing is known.
    """
    known = Counter(domain for domain in map(_shown, world_urls(library)) if domain is not None)
    urls = urls_of(library, {row.key for row in pool_of(finds) if row.key} | {row.key for row in curriculum(verdicts)})
    counted = {
        "pool": Counter(_shown(urls.get(row.key or "")) or row.domain for row in pool_of(finds)),
        "curriculum": Counter(_shown(urls.get(row.key)) or row.domain for row in curriculum(verdicts)),
    }
    return {"corpus": known, **counted} if known else counted


def world_urls(library: SearchableCorpus) -> list[str]:
    """Addresses of the corpus's pictures that can be found, where they are of the world."""
    import pyarrow.compute as pc

    usable = library.findable("url")
    urls: list[str] = usable.filter(pc.starts_with(usable, "world://")).to_pylist()
    return urls


def _shown(url: str | None) -> str | None:
    """The domain of a picture of the world."""
    scene = parse_url(url or "")
    return None if scene is None else scene.domain


def urls_of(library: SearchableCorpus, keys: set[str]) -> dict[str, str | None]:
    """Addresses of pictures by key."""
    return {key: library.sample(key).url for key in keys}


def rejected(artifact: Artifact[SearchResult] | Artifact[Question] | Artifact[LabelledQuestion]) -> dict[str, int]:
    """A stage's rejects by reason."""
    return {reason: count for reason, count in artifact.counters.items() if reason != "kept" and count}


def excerpt(verdicts: Sequence[LabelledQuestion]) -> list[LabelledQuestion]:
    """At most `SHOWN` kept and rejected questions, evenly spread; no gold items."""
    kept = curriculum(verdicts)
    dropped = [verdict for verdict in verdicts if verdict.reason is not None and verdict.target is None]
    return [one for part in (kept, dropped) for one in part[:: math.ceil(len(part) / SHOWN) or 1]]


class RoundArtifacts(Frozen):
    """What the stages of one round made."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    frontier: Artifact[DomainDifficulty]
    searcher: Artifact[Step]
    pool: Artifact[SearchResult]
    questioner: Artifact[Step]
    questions: Artifact[Question]
    curriculum: Artifact[LabelledQuestion]
    solver: Artifact[Step]
    base: Artifact[Score]
    """Of the base model, before any round."""
    before: Artifact[Score]
    """Of the team that the round started from."""
    after: Artifact[Score]
    """With the round's Solver."""
    decision: Artifact[Decision]

    @property
    def stages(self) -> dict[str, Manifest]:
        """Manifests of the round's own stages by their folders, in order."""
        mine = (
            self.frontier, self.searcher, self.pool, self.questioner, self.questions, self.curriculum, self.solver,
            self.after, self.decision,
        )  # fmt: skip
        return {one.manifest.stage: one.manifest for one in mine}


@stage("report", LabelAccuracy, version=3)
def report_round(
    place: Place, config: PromoteConfig, window: FilterConfig, corpus: CorpusHandle, made: RoundArtifacts, seed: int
) -> Output[LabelAccuracy]:
    """Label accuracy by tenth of agreement as rows; the files of `written` attached."""
    library, labelled, found = corpus.open(), made.curriculum.read(), made.pool.read()
    bands = label_accuracy(labelled, urls_of(library, {one.key for one in curriculum(labelled)}))
    base, before, after = made.base, made.before.read(), made.after.read()
    facts = Facts(
        title=title(place),
        decision=made.decision.read()[0],
        changes=tuple(changes(before, after, config.resamples, seed)),
        since_base=() if base.uri == made.before.uri else tuple(changes(base.read(), after, config.resamples, seed)),
        replies=replies_of(after),
        bands=tuple(bands),
        gold=tuple(gold_accuracy(labelled, window)),
        frontier=made.frontier.read(),
        verdicts=labelled,
        domains=domains(library, found, labelled),
        steps={"searcher": made.searcher.read(), "questioner": made.questioner.read(), "solver": made.solver.read()},
        rejects={one.manifest.stage: rejected(one) for one in (made.pool, made.questions, made.curriculum)},
        seconds={name: manifest.seconds for name, manifest in made.stages.items()},
        reach=reach_of(found, len(library)),
    )
    return Output(bands, {"kept": len(curriculum(labelled))}, written(facts, library))


def title(place: Place) -> str:
    """`Run default, round 3`."""
    _, run, number = place.prefix.split("/")
    return f"Run {run}, round {int(number.removeprefix('round-'))}"


def written(facts: Facts, library: SearchableCorpus) -> dict[str, Path]:
    """The files of the report, by name."""
    files = {name: workspace() / name for name in FILES}
    shown = excerpt(facts.verdicts)
    pictures = {picture.key: picture for picture in library.pictures(list(dict.fromkeys(one.key for one in shown)))}
    files["summary.txt"].write_text("\n".join(text.summary(facts)) + "\n")
    files["scores.json"].write_text(json.dumps([asdict(change) for change in facts.changes], indent=1))
    files["report.md"].write_text(text.markdown(facts))
    files["curriculum.html"].write_text(page(f"{facts.title}: curriculum", shown, pictures))
    chart.draw(facts, files[text.CHART])
    log.info("%s: %s", facts.title.lower(), "; ".join(text.summary(facts)))
    return files
