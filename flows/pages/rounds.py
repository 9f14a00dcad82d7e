"""The page of a round, made from its artifacts in the store and from the pictures of its corpus.

A round in progress has a page too: stages that are not complete are left out.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TypeVar

from pydantic import ValidationError

from flows.history import TRAINED, read_history
from flows.round import STAGES, round_place
from tasks.config import FilterConfig, PromoteConfig
from tasks.corpus import corpus_place, open_corpus, place_of
from tasks.evaluate import evaluate_solver
from tasks.filter import blind_answers_of, curriculum, filter_questions
from tasks.index import build_index
from tasks.probe import probe_frontier
from tasks.promote import promote
from tasks.records import Decision, DomainDifficulty, LabelledQuestion, Question, Row, Score, SearchResult, Step
from tasks.report import (
    KnownLabels,
    RoundArtifacts,
    RoundRows,
    facts_of,
    known_labels,
    queries_of,
    report_round,
    rewards_of,
    round_page,
    stage_facts,
    title,
)
from tasks.reporting.page_files import one_file
from tasks.reporting.round_page import RoundPage, page_files
from tasks.search import search_images
from tasks.settings.errors import UserError
from tasks.store import Artifact, Manifest, Place, Store
from tasks.synthesize import synthesize_questions
from tasks.train import train_questioner, train_searcher, train_solver

R = TypeVar("R", bound=Row)

log = logging.getLogger(__name__)


def page_of_round(store: Store, run: str, number: int, corpus: str | None = None) -> RoundPage:
    """The page of a round. `corpus` is the address of its corpus, by default the one in the store that it searched.

    UserError where the corpus is not found. A round that has not searched yet has a page without pictures.
    """
    store.check_round(run, number)
    place = round_place(store, run, number)
    with store.snapshot(run):
        rows, artifacts, report = rows_of(place), artifacts_of(store, run, number), place.manifest(report_round.name)
        searching = corpus is None and place.manifest(search_images.name) is None
    if searching:
        return round_page(rows, None, KnownLabels({}, {}), None, "")
    searched = corpus_place(corpus) if corpus else corpus_place(searched_corpus(place)[0])
    with searched.snapshot():
        opened, facts = open_corpus(searched), None
        known = known_labels(rows, opened)
        if artifacts is not None and report is not None:
            config = PromoteConfig.model_validate(report.fingerprinted["config"])
            facts = facts_of(artifacts, config, rows, opened, known, int(str(report.fingerprinted["seed"])))
        return round_page(rows, opened, known, facts, address_of(searched))


def address_of(place: Place) -> str:
    """`file:///store/corpora/web`."""
    return f"{place.store.url}/{place.prefix}"


def page_of_questions(store: Store, run: str, number: int, corpus: str, everything: bool) -> str:
    """The page of a round as one HTML file, of a corpus at a name or an address; only kept questions by default."""
    page = page_of_round(store, run, number, address_of(place_of(store, corpus)))
    return one_file(page_files(page if everything else only_kept(page)))


def only_kept(page: RoundPage) -> RoundPage:
    """The page with the questions that trained the Solver alone."""
    kept = curriculum(page.labelled)
    ids, keys = {row.id for row in kept}, {row.key for row in kept}
    return replace(
        page,
        labelled=kept,
        questions=[row for row in page.questions if row.id in ids],
        results=[row for row in page.results if row.key in keys and row.reason is None],
        queries=0,
    )


def rows_of(place: Place) -> RoundRows:
    """The rows of the round's complete stages."""
    _, run, number = place.prefix.split("/")
    shown = [stage for stage in STAGES if stage != report_round.name]  # the page is a part of the report
    manifests = [manifest for stage in shown if (manifest := place.manifest(stage))]
    labelled = place.find(filter_questions.name, LabelledQuestion)
    trained = {role: place.find(stage, Step) for role, stage in TRAINED.items()}
    search, filtered = place.manifest(search_images.name), place.manifest(filter_questions.name)
    return RoundRows(
        title=title(place),
        run=run,
        number=int(number.removeprefix("round-")),
        stages=[stage_facts(manifest) for manifest in manifests],
        queries=queries_of(search) if search else 0,
        results=_rows(place, search_images.name, SearchResult),
        questions=_rows(place, synthesize_questions.name, Question),
        labelled=labelled.read() if labelled else [],
        filter=_filter_config(filtered) if filtered else None,
        rewards=rewards_of({role: artifact for role, artifact in trained.items() if artifact}),
        blind=blind_answers_of(labelled) if labelled else {},
    )


def _filter_config(manifest: Manifest) -> FilterConfig | None:
    """The filter's settings; None, with a warning, where another version wrote them."""
    try:
        return FilterConfig.model_validate(manifest.fingerprinted.get("config"))
    except ValidationError as error:
        log.warning("%s: its settings are not shown: %s", manifest.stage, error)
        return None


def _rows(place: Place, stage: str, row_type: type[R]) -> list[R]:
    artifact = place.find(stage, row_type)
    return artifact.read() if artifact else []


def artifacts_of(store: Store, run: str, number: int) -> RoundArtifacts | None:
    """All artifacts of a complete round; None while one is missing."""
    place = round_place(store, run, number)
    started_from = round_place(store, run, read_history(store, run, before=number).team_round)
    base = round_place(store, run, 0)
    found: dict[str, Artifact[Row] | None] = {
        name: of.find(stage, row_type)
        for name, of, stage, row_type in (
            ("frontier", place, probe_frontier.name, DomainDifficulty),
            ("searcher", place, train_searcher.name, Step),
            ("pool", place, search_images.name, SearchResult),
            ("questioner", place, train_questioner.name, Step),
            ("questions", place, synthesize_questions.name, Question),
            ("curriculum", place, filter_questions.name, LabelledQuestion),
            ("solver", place, train_solver.name, Step),
            ("base", base, evaluate_solver.name, Score),
            ("before", started_from, evaluate_solver.name, Score),
            ("after", place, evaluate_solver.name, Score),
            ("decision", place, promote.name, Decision),
        )
    }
    return None if None in found.values() else RoundArtifacts.model_validate(found)


def searched_corpus(round_: Place) -> tuple[str, str]:
    """Address and index fingerprint of the corpus that a round searched. UserError where it is not in the store."""
    store, search = round_.store, round_.manifest(search_images.name)
    if search is None:
        raise UserError(f"{round_.uri(search_images.name)} is not complete, so there are no pictures to show yet.")
    wanted = search.inputs["corpus.index"]
    _, names = store.files.listing(f"{store.root}/corpora")
    for name in names:
        place = Place(store, f"corpora/{name}")
        manifest = place.manifest(build_index.name)
        if manifest is not None and manifest.fingerprint == wanted:
            return address_of(place), wanted
    raise UserError(
        f"no corpus in {store.url} is the one that this round searched: give its address with --corpus URI "
        "(it may have grown since)."
    )
