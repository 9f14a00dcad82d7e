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

from tasks.benchmarks.statistics import Gain, holm
from tasks.config import FilterConfig, PromoteConfig
from tasks.corpus import Shelf
from tasks.execution.stage import stage, workspace
from tasks.filter import curriculum
from tasks.grading import equal
from tasks.labelling import gold as canaries
from tasks.promote import Comparison, compare_all
from tasks.records import Decision, Estimate, Find, Question, Score, Step, Verdict
from tasks.reporting import chart, text
from tasks.reporting.facts import Band, Change, Facts, reach_of, replies_of
from tasks.reporting.page import page
from tasks.retrieval.library import Library
from tasks.search import pool
from tasks.store import Artifact, Output, Place
from tasks.world import oracle, parse_url

SHOWN = 300
"""Most questions of either kind on the report's page; `active-zero curriculum --format html` shows all."""

FILES = ("summary.txt", "scores.json", "report.md", text.CHART, "curriculum.html")
"""Attached to the report; `scores.json` has the changes as records."""

log = logging.getLogger(__name__)


def label_accuracy(verdicts: Sequence[Verdict], urls: Mapping[str, str | None]) -> list[Band]:
    """How often the labels of kept questions are right, by tenths of agreement; empty without pictures of the world.

    `urls` names the addresses of the pictures by their keys; other pictures than the world's are left out.
    """
    groups: dict[int, list[Verdict]] = defaultdict(list)
    for verdict in curriculum(verdicts):
        if parse_url(urls.get(verdict.key) or "") is not None:
            groups[_tenth(verdict.agreement)].append(verdict)
    return [band(tenth, groups[tenth], urls) for tenth in sorted(groups)]


def band(tenth: int, verdicts: Sequence[Verdict], urls: Mapping[str, str | None]) -> Band:
    """The row of one band; labels are compared as they are everywhere."""
    truths = [oracle.answer(urls[verdict.key] or "", verdict.text) for verdict in verdicts]
    right = [
        truth is not None and verdict.label is not None and bool(equal(verdict.label, truth))
        for verdict, truth in zip(verdicts, truths, strict=True)
    ]
    answerable = sum(truth is not None for truth in truths)
    return Band(low=tenth / 10, high=(tenth + 1) / 10, questions=len(verdicts), answerable=answerable, right=sum(right))


def canary_accuracy(verdicts: Sequence[Verdict], config: FilterConfig) -> list[Band]:
    """How often the labels of canaries in the window are right, by tenths of agreement."""
    groups: dict[int, list[Verdict]] = defaultdict(list)
    for one in canaries.in_window(verdicts, config):
        groups[_tenth(one.agreement)].append(one)
    return [
        Band(
            low=tenth / 10,
            high=(tenth + 1) / 10,
            questions=len(group),
            answerable=len(group),
            right=sum(map(canaries.right, group)),
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


def domains(library: Library, finds: Sequence[Find], verdicts: Sequence[Verdict]) -> dict[str, Counter[str]]:
    """Counts by domain for corpus, pool and curriculum.

    The world's pictures count for the domain that they show; any others for the one that the Searcher was sent to, and
    of their corpus nothing is known.
    """
    known = Counter(domain for domain in map(_shown, world_urls(library)) if domain is not None)
    urls = urls_of(library, {row.key for row in pool(finds) if row.key} | {row.key for row in curriculum(verdicts)})
    counted = {
        "pool": Counter(_shown(urls.get(row.key or "")) or row.domain for row in pool(finds)),
        "curriculum": Counter(_shown(urls.get(row.key)) or row.domain for row in curriculum(verdicts)),
    }
    return {"corpus": known, **counted} if known else counted


def world_urls(library: Library) -> list[str]:
    """Addresses of the corpus's pictures that can be found, where they are of the world."""
    import pyarrow.compute as pc

    usable = library.findable("url")
    urls: list[str] = usable.filter(pc.starts_with(usable, "world://")).to_pylist()
    return urls


def _shown(url: str | None) -> str | None:
    """The domain of a picture of the world."""
    scene = parse_url(url or "")
    return None if scene is None else scene.domain


def urls_of(library: Library, keys: set[str]) -> dict[str, str | None]:
    """Addresses of pictures by key."""
    return {key: library.sample(key).url for key in keys}


def rejected(artifact: Artifact[Find] | Artifact[Question] | Artifact[Verdict]) -> dict[str, int]:
    """A stage's rejects by reason."""
    return {reason: count for reason, count in artifact.counters.items() if reason != "kept" and count}


def excerpt(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """At most `SHOWN` kept and rejected questions, evenly spread; no canaries."""
    kept = curriculum(verdicts)
    dropped = [verdict for verdict in verdicts if verdict.reason is not None and verdict.target is None]
    return [one for part in (kept, dropped) for one in part[:: math.ceil(len(part) / SHOWN) or 1]]


@stage("10-report", Band, version=2)
def report_round(
    place: Place,
    config: PromoteConfig,
    window: FilterConfig,
    shelf: Shelf,
    frontier: Artifact[Estimate],
    searcher: Artifact[Step],
    finds: Artifact[Find],
    questioner: Artifact[Step],
    questions: Artifact[Question],
    verdicts: Artifact[Verdict],
    solver: Artifact[Step],
    base: Artifact[Score],
    before: Artifact[Score],
    after: Artifact[Score],
    decision: Artifact[Decision],
    seed: int,
) -> Output[Band]:
    """Label accuracy by band as rows; the files of `written` attached."""
    library, judged, found = shelf.open(), verdicts.read(), finds.read()
    bands = label_accuracy(judged, urls_of(library, {one.key for one in curriculum(judged)}))
    scores = after.read()
    played = (frontier, searcher, finds, questioner, questions, verdicts, solver, after, decision)
    facts = Facts(
        title=title(place),
        decision=decision.read()[0],
        changes=tuple(changes(before.read(), scores, config.resamples, seed)),
        since_base=() if base.uri == before.uri else tuple(changes(base.read(), scores, config.resamples, seed)),
        replies=replies_of(scores),
        bands=tuple(bands),
        canaries=tuple(canary_accuracy(judged, window)),
        frontier=frontier.read(),
        verdicts=judged,
        domains=domains(library, found, judged),
        steps={"searcher": searcher.read(), "questioner": questioner.read(), "solver": solver.read()},
        rejects={one.manifest.stage: rejected(one) for one in (finds, questions, verdicts)},
        seconds={one.manifest.stage: one.manifest.seconds for one in played},
        reach=reach_of(found, len(library)),
    )
    return Output(bands, {"kept": len(curriculum(judged))}, written(facts, library))


def title(place: Place) -> str:
    """`Run default, round 3`."""
    _, run, number = place.prefix.split("/")
    return f"Run {run}, round {int(number.removeprefix('round-'))}"


def written(facts: Facts, library: Library) -> dict[str, Path]:
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
