"""Report what the round did: Markdown, charts, and a page of all its questions with their pictures.

Where the corpus is the micro world, its oracle gives the label accuracy of the pseudo-labels. It is computed here,
after all training, and used for nothing else.
"""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import ConfigDict

from tasks.benchmarks.statistics import Gain, holm
from tasks.config import FilterConfig, PromoteConfig
from tasks.corpus import CorpusHandle
from tasks.execution.stage import stage, workspace
from tasks.filter import blind_answers_of, curriculum, open_gold_items
from tasks.grading import equal
from tasks.labelling import gold
from tasks.promote import Comparison, compare_all
from tasks.records import (
    Answers,
    Decision,
    DomainDifficulty,
    ExampleReward,
    LabelledQuestion,
    Question,
    Score,
    SearchResult,
    Step,
)
from tasks.records.picture import Picture
from tasks.reporting import chart, text
from tasks.reporting.facts import Change, LabelAccuracy, RoundFacts, StageFacts, Verdict, coverage_of, replies_of
from tasks.reporting.page_files import write_folder
from tasks.reporting.round_page import RoundPage, Window, page_files, tenth_of
from tasks.retrieval.plane import places_in_plane
from tasks.retrieval.searchable_corpus import SearchableCorpus
from tasks.search import pool_of
from tasks.settings.base import Frozen
from tasks.settings.errors import UserError
from tasks.store import Artifact, Manifest, Output, Place, StoreFault
from tasks.train import example_rewards
from tasks.world import oracle, parse_url

FILES = ("summary.txt", "scores.json", "report.md", text.CHART)
"""Files attached to the report beside the folder of its page; `scores.json` holds the changes as records."""

log = logging.getLogger(__name__)


def verdicts(labelled: Sequence[LabelledQuestion], urls: Mapping[str, str | None]) -> dict[str, Verdict]:
    """Whether each label is right, by question id, where the true answer is known.

    It is known of gold items, and of questions about the micro world that its oracle answers. `urls` holds the
    pictures' addresses by key.
    """
    known = ((row, _true_answer(row, urls.get(row.key) or "")) for row in labelled if row.label is not None)
    return {row.id: Verdict(truth, bool(equal(row.label or "", truth))) for row, truth in known if truth is not None}


def _true_answer(row: LabelledQuestion, url: str) -> str | None:
    return row.target if row.target is not None else oracle.answer(url, row.text)


def label_accuracy(
    labelled: Sequence[LabelledQuestion], urls: Mapping[str, str | None], known: Mapping[str, Verdict]
) -> list[LabelAccuracy]:
    """Label accuracy of kept questions by the micro world's oracle, in bins of a tenth of agreement.

    Questions about other pictures than the micro world's are left out. `known`: what `verdicts` found.
    """
    kept = [question for question in curriculum(labelled) if parse_url(urls.get(question.key) or "") is not None]
    return [_oracle_bin(tenth, group, known) for tenth, group in by_tenth(kept).items()]


def _oracle_bin(tenth: int, questions: Sequence[LabelledQuestion], known: Mapping[str, Verdict]) -> LabelAccuracy:
    answerable = [known[question.id].right for question in questions if question.id in known]
    return accuracy_bin(tenth, len(questions), len(answerable), sum(answerable))


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
        groups[tenth_of(question.agreement)].append(question)
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

    def rows(self, place: Place, window: FilterConfig) -> RoundRows:
        """The rows that the round's page shows."""
        _, run, number = place.prefix.split("/")
        return RoundRows(
            title=title(place),
            run=run,
            number=int(number.removeprefix("round-")),
            stages=[stage_facts(manifest) for manifest in self.stages.values()],
            queries=queries_of(self.pool.manifest),
            results=self.pool.read(),
            questions=self.questions.read(),
            labelled=self.curriculum.read(),
            filter=window,
            rewards=rewards_of({"searcher": self.searcher, "questioner": self.questioner, "solver": self.solver}),
            blind=blind_answers_of(self.curriculum),
        )

    @property
    def rejects(self) -> dict[str, dict[str, int]]:
        """Number of rejects by stage and reason."""
        return {part.manifest.stage: rejects_of(part) for part in (self.pool, self.questions, self.curriculum)}


@stage("report", LabelAccuracy, version=4)
def report_round(
    place: Place,
    config: PromoteConfig,
    window: FilterConfig,
    corpus: CorpusHandle,
    artifacts: RoundArtifacts,
    seed: int,
) -> Output[LabelAccuracy]:
    """Label accuracy by tenth of agreement as rows, and the files of `write_files` attached."""
    searchable = corpus.open()
    rows = artifacts.rows(place, window)
    known = known_labels(rows, searchable)
    facts = facts_of(artifacts, config, rows, searchable, known, seed)
    page = round_page(rows, searchable, known, facts, corpus.index.uri.rpartition("/")[0])
    return Output(facts.label_accuracy, {"kept": len(curriculum(rows.labelled))}, write_files(facts, page))


def facts_of(
    artifacts: RoundArtifacts,
    config: PromoteConfig,
    rows: RoundRows,
    corpus: SearchableCorpus,
    known: KnownLabels,
    seed: int,
) -> RoundFacts:
    """The figures of a complete round."""
    before, after = artifacts.before.read(), artifacts.after.read()
    base = [] if artifacts.base.uri == artifacts.before.uri else artifacts.base.read()
    return RoundFacts(
        title=rows.title,
        decision=artifacts.decision.read()[0],
        changes=tuple(changes(before, after, config.resamples, seed)),
        since_base=tuple(changes(base, after, config.resamples, seed)) if base else (),
        replies=replies_of(after),
        label_accuracy=tuple(label_accuracy(rows.labelled, known.urls, known.verdicts)),
        gold_accuracy=tuple(gold_accuracy(rows.labelled, rows.filter)) if rows.filter else (),
        frontier=artifacts.frontier.read(),
        labelled=rows.labelled,
        domains=domains(corpus, rows.results, rows.labelled),
        steps=artifacts.steps,
        rejects=artifacts.rejects,
        seconds={stage.name: stage.seconds for stage in rows.stages},
        coverage=coverage_of(rows.results, len(corpus)),
    )


@dataclass(frozen=True)
class RoundRows:
    """The rows of a round that its page shows. Those of stages that are not complete are empty."""

    title: str
    run: str
    number: int
    stages: Sequence[StageFacts]
    queries: int
    """Queries that the Searcher wrote."""
    results: Sequence[SearchResult]
    questions: Sequence[Question]
    labelled: Sequence[LabelledQuestion]
    filter: FilterConfig | None
    """The filter's settings; None where it is not complete."""
    rewards: Mapping[str, Sequence[ExampleReward]]
    """By role: what each training step's examples were rewarded, where the training tells it."""
    blind: Mapping[str, Answers]
    """The Solver's answers without the picture, by question id."""


@dataclass(frozen=True)
class KnownLabels:
    """What is known about a round's labels beside their votes."""

    urls: Mapping[str, str | None]
    """Addresses of the pictures by key."""
    verdicts: Mapping[str, Verdict]
    """By question id."""


def known_labels(rows: RoundRows, corpus: SearchableCorpus) -> KnownLabels:
    """The verdicts on all labels of the round."""
    urls = urls_of(corpus, {row.key for row in rows.labelled if row.target is None})
    return KnownLabels(urls, verdicts(rows.labelled, urls))


def round_page(
    rows: RoundRows, corpus: SearchableCorpus | None, known: KnownLabels, facts: RoundFacts | None, address: str
) -> RoundPage:
    """The page of a round. `facts` is None before the round is complete; `address` is the corpus's.

    Without a corpus the page shows no pictures of it.
    """
    keys = {row.key for row in rows.results if row.key} | {row.key for row in rows.questions}
    keys |= {row.key for row in rows.labelled if row.target is None}
    pool = list(dict.fromkeys(row.key for row in pool_of(rows.results) if row.key))
    shown = shown_pictures(corpus, sorted(keys), pool) if corpus else ShownPictures()
    return RoundPage(
        run=rows.run,
        number=rows.number,
        stages=rows.stages,
        queries=rows.queries,
        results=rows.results,
        questions=rows.questions,
        labelled=rows.labelled,
        verdicts=known.verdicts,
        window=window_of(rows),
        facts=facts,
        pictures={**shown.pictures, **gold_pictures(rows)},
        places=shown.places,
        problem=shown.problem,
        corpus=address,
        rewards=rows.rewards,
        blind=rows.blind,
    )


@dataclass(frozen=True)
class ShownPictures:
    """The pictures of a round, as far as the corpus still serves them."""

    pictures: Mapping[str, Picture] = field(default_factory=dict)
    """By key."""
    places: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Where those of the pool lie on the map."""
    problem: str = ""
    """Why there are none."""


def shown_pictures(corpus: SearchableCorpus, keys: Sequence[str], pool: Sequence[str]) -> ShownPictures:
    """The pictures and their places. A corpus that no longer serves one of them costs the page its pictures, not the
    round its report."""
    try:
        pictures = {picture.key: picture for picture in corpus.pictures(keys)}
        return ShownPictures(pictures, places_in_plane(corpus, pool))
    except (UserError, StoreFault, OSError) as error:
        log.warning("the round's page has no pictures: %s", error)
        return ShownPictures(problem=f"The pictures cannot be read from the corpus: {error}")


def window_of(rows: RoundRows) -> Window | None:
    """The filter's settings that explain its reasons."""
    config = rows.filter
    if config is None:
        return None
    return Window(
        low=config.low,
        high=config.high,
        floor=gold.agreement_floor(rows.labelled, config),
        answers=config.answers,
        blind_answers=config.leakage.blind_answers,
        blind_share=config.leakage.blind_share,
        max_share=config.max_share,
    )


def gold_pictures(rows: RoundRows) -> dict[str, Picture]:
    """The pictures of the round's gold items by key; none where their benchmark cannot be read any more."""
    wanted = {row.key for row in rows.labelled if row.target is not None}
    try:
        source = open_gold_items(rows.filter) if rows.filter and wanted else None
        items = source.read().items if source else []
    except (UserError, OSError) as error:
        log.warning("the pictures of the gold items are not shown: %s", error)
        return {}
    return {item.picture.key: item.picture for item in items if item.picture.key in wanted}


def rewards_of(trained: Mapping[str, Artifact[Step]]) -> dict[str, list[ExampleReward]]:
    """What each step's examples were rewarded, by role; without roles whose training does not tell it."""
    told = {role: example_rewards(artifact) for role, artifact in trained.items()}
    return {role: rows for role, rows in told.items() if rows}


def stage_facts(manifest: Manifest) -> StageFacts:
    """A complete stage as the page shows it."""
    return StageFacts(manifest.stage, manifest.seconds, manifest.rows, manifest.counters)


def queries_of(search: Manifest) -> int:
    """Number of queries that the Searcher wrote, by the settings of its search stage."""
    config = search.fingerprinted["config"]
    return int(str(config["queries"])) if isinstance(config, dict) else 0


def title(place: Place) -> str:
    """`Run default, round 3`."""
    _, run, number = place.prefix.split("/")
    return f"Run {run}, round {int(number.removeprefix('round-'))}"


def write_files(facts: RoundFacts, page: RoundPage) -> dict[str, Path]:
    """Write the report's files and return their paths by name."""
    files = {name: workspace() / name for name in (*FILES, text.PAGE)}
    files["summary.txt"].write_text("\n".join(text.summary(facts)) + "\n")
    files["scores.json"].write_text(json.dumps([asdict(change) for change in facts.changes], indent=1))
    files["report.md"].write_text(text.markdown(facts))
    chart.draw(facts, files[text.CHART])
    write_folder(page_files(page), files[text.PAGE])
    log.info("%s: %s", facts.title.lower(), "; ".join(text.summary(facts)))
    return files
