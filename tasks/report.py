"""Report what the round did: Markdown, charts, and a page of the curriculum with its pictures.

Where the corpus is the micro world, its oracle gives the label accuracy of the pseudo-labels. It is computed here,
after all training, and used for nothing else.
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
from tasks.reporting.curriculum_page import curriculum_page
from tasks.reporting.facts import Change, LabelAccuracy, RoundFacts, coverage_of, replies_of
from tasks.retrieval.searchable_corpus import SearchableCorpus
from tasks.search import pool_of
from tasks.settings.base import Frozen
from tasks.store import Artifact, Manifest, Output, Place
from tasks.world import oracle, parse_url

SHOWN = 300
"""Maximum number of kept and of rejected questions on the report's page. `active-zero curriculum --format html` shows
all of them."""

FILES = ("summary.txt", "scores.json", "report.md", text.CHART, "curriculum.html")
"""Files attached to the report; `scores.json` holds the changes as records."""

log = logging.getLogger(__name__)


def label_accuracy(labelled: Sequence[LabelledQuestion], urls: Mapping[str, str | None]) -> list[LabelAccuracy]:
    """Label accuracy of kept questions by the micro world's oracle, in bins of a tenth of agreement.

    `urls` holds the pictures' addresses by key. Questions about other pictures than the micro world's are left out.
    """
    kept = [question for question in curriculum(labelled) if parse_url(urls.get(question.key) or "") is not None]
    truths = {question.id: oracle.answer(urls[question.key] or "", question.text) for question in kept}
    return [_oracle_bin(tenth, group, truths) for tenth, group in by_tenth(kept).items()]


def _oracle_bin(tenth: int, questions: Sequence[LabelledQuestion], truths: Mapping[str, str | None]) -> LabelAccuracy:
    answerable = [(question.label, truth) for question in questions if (truth := truths[question.id]) is not None]
    right = sum(label is not None and bool(equal(label, truth)) for label, truth in answerable)
    return accuracy_bin(tenth, len(questions), len(answerable), right)


def gold_accuracy(labelled: Sequence[LabelledQuestion], config: FilterConfig) -> list[LabelAccuracy]:
    """Label accuracy of the gold items in the window, in bins of a tenth of agreement."""
    return [
        accuracy_bin(tenth, len(group), len(group), sum(map(gold.label_is_right, group)))
        for tenth, group in by_tenth(gold.in_window(labelled, config)).items()
    ]


def by_tenth(labelled: Sequence[LabelledQuestion]) -> dict[int, list[LabelledQuestion]]:
    """The questions by tenth of their agreement (0 to 9), in ascending order. An agreement of 1 is in tenth 9."""
    groups: dict[int, list[LabelledQuestion]] = defaultdict(list)
    for question in labelled:
        groups[min(9, math.floor(question.agreement * 10 + 1e-9))].append(question)  # 0.7 * 10 is not exactly 7
    return dict(sorted(groups.items()))


def accuracy_bin(tenth: int, questions: int, answerable: int, right: int) -> LabelAccuracy:
    """The row of one tenth of agreement."""
    return LabelAccuracy(low=tenth / 10, high=(tenth + 1) / 10, questions=questions, answerable=answerable, right=right)


def changes(before: Sequence[Score], after: Sequence[Score], resamples: int, seed: int) -> list[Change]:
    """The changes of the samples' mean and of greedy accuracy on every benchmark; the gate comes last.

    The gate has decided on promotion, so the reported benchmarks are the better evidence. The p values are adjusted for
    the number of benchmarks.
    """
    comparisons = compare_all(before, after, resamples, seed)
    adjusted = dict(zip(comparisons, holm([each.test.p for each in comparisons.values()]), strict=True))
    return [
        change
        for name, comparison in reversed(comparisons.items())
        for change in _changes_on(name, comparison, adjusted[name], len(after[0].samples))
    ]


def _changes_on(name: str, comparison: Comparison, p: float, samples: int) -> tuple[Change, Change]:
    mean = _change(name, f"mean of {samples}", comparison.items, comparison.mean, None)
    return mean, _change(name, "greedy", comparison.items, comparison.greedy, p)


def _change(benchmark: str, figure: str, items: int, gain: Gain, p: float | None) -> Change:
    return Change(benchmark, figure, items, gain.before, gain.after, gain.low, gain.high, p)


def domains(
    corpus: SearchableCorpus, results: Sequence[SearchResult], labelled: Sequence[LabelledQuestion]
) -> dict[str, Counter[str]]:
    """Number of pictures or questions by domain in corpus, pool and curriculum.

    A picture of the micro world counts for the domain that it shows, any other one for the domain of its query. The
    domains of other corpora are unknown, so the result then has no `corpus`.
    """
    pool, kept = pool_of(results), curriculum(labelled)
    urls = urls_of(corpus, {row.key for row in pool if row.key} | {row.key for row in kept})
    counts = {
        "pool": Counter(_world_domain(urls.get(row.key or "")) or row.domain for row in pool),
        "curriculum": Counter(_world_domain(urls.get(row.key)) or row.domain for row in kept),
    }
    known = Counter(domain for domain in map(_world_domain, world_urls(corpus)) if domain is not None)
    return {"corpus": known, **counts} if known else counts


def world_urls(corpus: SearchableCorpus) -> list[str]:
    """Addresses of the micro world's pictures in the corpus's index."""
    import pyarrow.compute as pc

    indexed = corpus.findable("url")
    urls: list[str] = indexed.filter(pc.starts_with(indexed, "world://")).to_pylist()
    return urls


def _world_domain(url: str | None) -> str | None:
    """The domain that a picture of the micro world shows; None for any other address."""
    scene = parse_url(url or "")
    return None if scene is None else scene.domain


def urls_of(corpus: SearchableCorpus, keys: set[str]) -> dict[str, str | None]:
    """Addresses of pictures by key."""
    return {key: corpus.sample(key).url for key in keys}


def rejects_of(artifact: Artifact[SearchResult] | Artifact[Question] | Artifact[LabelledQuestion]) -> dict[str, int]:
    """Number of a stage's rejects by reason."""
    return {reason: count for reason, count in artifact.counters.items() if reason != "kept" and count}


def excerpt(labelled: Sequence[LabelledQuestion]) -> list[LabelledQuestion]:
    """At most `SHOWN` kept and `SHOWN` rejected questions, evenly spread; no gold items."""
    kept = curriculum(labelled)
    rejected = [question for question in labelled if question.reason is not None and question.target is None]
    return [question for part in (kept, rejected) for question in part[:: math.ceil(len(part) / SHOWN) or 1]]


class RoundArtifacts(Frozen):
    """The artifacts of one round's stages."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    frontier: Artifact[DomainDifficulty]
    searcher: Artifact[Step]
    pool: Artifact[SearchResult]
    questioner: Artifact[Step]
    questions: Artifact[Question]
    curriculum: Artifact[LabelledQuestion]
    solver: Artifact[Step]
    base: Artifact[Score]
    """Scores of the base model, before any round."""
    before: Artifact[Score]
    """Scores of the team that the round started from."""
    after: Artifact[Score]
    """Scores of the round's new Solver."""
    decision: Artifact[Decision]

    @property
    def stages(self) -> dict[str, Manifest]:
        """Manifests of the stages of this round by their folders, in order."""
        in_order = (
            self.frontier, self.searcher, self.pool, self.questioner, self.questions, self.curriculum, self.solver,
            self.after, self.decision,
        )  # fmt: skip
        return {artifact.manifest.stage: artifact.manifest for artifact in in_order}

    @property
    def steps(self) -> dict[str, list[Step]]:
        """Training steps by role."""
        trained = {"searcher": self.searcher, "questioner": self.questioner, "solver": self.solver}
        return {role: artifact.read() for role, artifact in trained.items()}

    @property
    def rejects(self) -> dict[str, dict[str, int]]:
        """Number of rejects by stage and reason."""
        return {part.manifest.stage: rejects_of(part) for part in (self.pool, self.questions, self.curriculum)}


@stage("report", LabelAccuracy, version=3)
def report_round(
    place: Place,
    config: PromoteConfig,
    window: FilterConfig,
    corpus: CorpusHandle,
    artifacts: RoundArtifacts,
    seed: int,
) -> Output[LabelAccuracy]:
    """Label accuracy by tenth of agreement as rows, and the files of `write_files` attached."""
    searchable, labelled, results = corpus.open(), artifacts.curriculum.read(), artifacts.pool.read()
    kept = curriculum(labelled)
    accuracy = label_accuracy(labelled, urls_of(searchable, {question.key for question in kept}))
    before, after = artifacts.before.read(), artifacts.after.read()
    base = [] if artifacts.base.uri == artifacts.before.uri else artifacts.base.read()
    facts = RoundFacts(
        title=title(place),
        decision=artifacts.decision.read()[0],
        changes=tuple(changes(before, after, config.resamples, seed)),
        since_base=tuple(changes(base, after, config.resamples, seed)) if base else (),
        replies=replies_of(after),
        label_accuracy=tuple(accuracy),
        gold_accuracy=tuple(gold_accuracy(labelled, window)),
        frontier=artifacts.frontier.read(),
        labelled=labelled,
        domains=domains(searchable, results, labelled),
        steps=artifacts.steps,
        rejects=artifacts.rejects,
        seconds={name: manifest.seconds for name, manifest in artifacts.stages.items()},
        coverage=coverage_of(results, len(searchable)),
    )
    return Output(accuracy, {"kept": len(kept)}, write_files(facts, searchable))


def title(place: Place) -> str:
    """`Run default, round 3`."""
    _, run, number = place.prefix.split("/")
    return f"Run {run}, round {int(number.removeprefix('round-'))}"


def write_files(facts: RoundFacts, corpus: SearchableCorpus) -> dict[str, Path]:
    """Write the report's files and return their paths by name."""
    files = {name: workspace() / name for name in FILES}
    shown = excerpt(facts.labelled)
    keys = list(dict.fromkeys(question.key for question in shown))
    pictures = {picture.key: picture for picture in corpus.pictures(keys)}
    files["summary.txt"].write_text("\n".join(text.summary(facts)) + "\n")
    files["scores.json"].write_text(json.dumps([asdict(change) for change in facts.changes], indent=1))
    files["report.md"].write_text(text.markdown(facts))
    files["curriculum.html"].write_text(curriculum_page(f"{facts.title}: curriculum", shown, pictures))
    chart.draw(facts, files[text.CHART])
    log.info("%s: %s", facts.title.lower(), "; ".join(text.summary(facts)))
    return files
