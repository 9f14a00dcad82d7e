"""The pages of runs, made from the pages of their rounds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from flows.pages.rounds import page_of_round
from flows.pages.summaries import run_summaries
from flows.round import round_place
from tasks.report import report_round
from tasks.reporting.facts import LabelAccuracy
from tasks.reporting.page_files import PageFiles, document_in, files_of, marked
from tasks.reporting.round_page import page_files
from tasks.reporting.run_page import RoundDocuments, run_files
from tasks.reporting.text import PAGE
from tasks.settings.errors import UserError
from tasks.store import Artifact, Store

log = logging.getLogger(__name__)


DOCUMENTS = ("round", "columns", "pictures")
"""Documents of a round's page that the run's page is made of."""


def page_of_run(run: str, rounds: Sequence[RoundDocuments]) -> dict[str, bytes]:
    """The files of the run's own page, without those of its rounds."""
    return dict(files_of(run_files(run, rounds)))


def documents_of(store: Store, run: str, read: Callable[[int, str], bytes]) -> list[RoundDocuments]:
    """The documents of all rounds of a run; `read` gives a file of a round's page.

    A round whose page cannot be made is left out with a warning.
    """
    found = []
    for number in numbers_of(store, run):
        try:
            parts = [document_in(read(number, f"data/{name}.js")) for name in DOCUMENTS]
            found.append(RoundDocuments(number, *parts))
        except UserError as error:
            log.warning("round %d of %s is not shown: %s", number, run, error)
    return found


def numbers_of(store: Store, run: str) -> list[int]:
    """The rounds that were played or begun; round 0 holds only the base model's scores."""
    return [number for number in store.rounds(run) if number > 0]


def round_files(store: Store, run: str, number: int) -> dict[str, bytes]:
    """The files of a round's page: those in its report, else made now."""
    report = report_with_page(store, run, number)
    if report is None:
        return dict(files_of(page_files(page_of_round(store, run, number))))
    folder = report.folder(PAGE)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def report_with_page(store: Store, run: str, number: int) -> Artifact[LabelAccuracy] | None:
    """The round's report, its files not verified yet; None where it is missing or holds no page."""
    place = round_place(store, run, number)
    manifest = place.manifest(report_round.name)
    if manifest is None or not any(file.name == f"{PAGE}/index.html" for file in manifest.files):
        return None
    return Artifact(place.uri(report_round.name), LabelAccuracy, manifest)


def files_of_run(store: Store, run: str) -> dict[str, bytes]:
    """The run's page with the pages of its rounds below it."""
    made: dict[int, dict[str, bytes]] = {}

    def read(number: int, name: str) -> bytes:
        if number not in made:
            made[number] = round_files(store, run, number)
        return made[number][name]

    files = page_of_run(run, documents_of(store, run, read))
    marks = {"up": "../index.html", "up-name": f"Run {run}"}
    for number, inside in made.items():
        folder = f"round-{number:03d}"
        files |= {f"{folder}/{name}": data for name, data in inside.items()}
        files[f"{folder}/index.html"] = marked(inside["index.html"], marks)
    return files


def runs_files(store: Store) -> dict[str, bytes]:
    """The page of all runs in the store."""
    runs = [{**each, "latest": max(store.rounds(each["run"]), default=0)} for each in run_summaries(store)]
    document: dict[str, Any] = {"store": store.url, "runs": runs}
    return dict(files_of(PageFiles("Runs", "runs", ("page.js", "runs.js"), ("runs",), {"runs": document})))
