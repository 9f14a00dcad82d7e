"""The page of a run, made from the pages of its rounds."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from flows.pages.rounds import page_of_round
from flows.round import round_place
from tasks.report import report_round
from tasks.reporting.facts import LabelAccuracy
from tasks.reporting.page_files import document_in, files_of, linked_up
from tasks.reporting.round_page import page_files
from tasks.reporting.run_page import RoundDocuments, run_files
from tasks.reporting.text import PAGE
from tasks.settings.errors import UserError
from tasks.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RoundFiles:
    """The files of a round's page, by their names in its folder."""

    number: int
    files: dict[str, bytes]

    @property
    def documents(self) -> RoundDocuments:
        """What the run's page needs of them."""
        first = (document_in(self.files[f"data/{name}.js"]) for name in ("round", "columns", "pictures"))
        return RoundDocuments(self.number, *first)


def rounds_of(store: Store, run: str) -> Iterator[RoundFiles]:
    """The pages of a run's rounds: those of the reports, and new ones of rounds that are not complete.

    A round without a pool, or whose page cannot be made, is left out with a warning.
    """
    for number in store.rounds(run):
        if number == 0:
            continue
        try:
            yield RoundFiles(number, round_files(store, run, number))
        except UserError as error:
            log.warning("round %d of %s is not shown: %s", number, run, error)


def round_files(store: Store, run: str, number: int) -> dict[str, bytes]:
    """The files of a round's page: those in its report, else made now."""
    attached = report_files(store, run, number)
    return attached or dict(files_of(page_files(page_of_round(store, run, number))))


def report_files(store: Store, run: str, number: int) -> dict[str, bytes]:
    """The files of the page in a round's report; none where the report is missing or holds no page."""
    place = round_place(store, run, number)
    report = place.find(report_round.name, LabelAccuracy)
    if report is None or not any(file.name.startswith(f"{PAGE}/") for file in report.manifest.files):
        return {}
    folder = report.folder(PAGE)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def files_of_run(store: Store, run: str) -> dict[str, bytes]:
    """The run's page with the pages of its rounds below it."""
    rounds = list(rounds_of(store, run))
    files = dict(files_of(run_files(run, [each.documents for each in rounds])))
    for each in rounds:
        folder = f"round-{each.number:03d}"
        files |= {f"{folder}/{name}": data for name, data in each.files.items()}
        files[f"{folder}/index.html"] = linked_up(each.files["index.html"], "../index.html", f"Run {run}")
    return files
