"""The decisions of a run's complete rounds in one small file, so that `active-zero runs` need not open every round.

    <store>/runs/<run>/history.json

It is a cache. An entry counts only while the round's folder holds exactly the files that it held when the round was
read and verified, version by version, and while the rows have the columns of this program. Otherwise the rounds are
read, as `read_history` does.
"""

from __future__ import annotations

import logging

from flows.history import RunHistory, read_history
from flows.round import FOLDERS, round_place
from tasks.records import Decision, LabelledQuestion, Step
from tasks.settings.base import Frozen
from tasks.settings.fingerprint import digest
from tasks.store import Store, StoreFault

log = logging.getLogger(__name__)

FILE = "history.json"


class IndexedRound(Frozen):
    """A complete round: its decision, and a digest of the paths and versions of its files."""

    decision: dict[str, bool | int | float | str]
    files: str


class HistoryIndex(Frozen):
    """The complete rounds of a run, from round 1 on."""

    columns: str
    """A digest of the columns of the rows that a history needs."""
    rounds: tuple[IndexedRound, ...]


def write_index(store: Store, run: str) -> None:
    """Write the index of a run's complete rounds, which are read and verified for it.

    A fault of the store is logged: the rounds are complete without it.
    """
    try:
        store.files.replace(_path(store, run), _index(store, run).model_dump_json().encode())
    except StoreFault as error:
        log.warning("%s of run %s was not written: %s", FILE, run, error)


def _index(store: Store, run: str) -> HistoryIndex:
    history = read_history(store, run)
    with store.snapshot(run):
        rounds = tuple(
            IndexedRound(decision=decision.model_dump(), files=_digest(store, run, number))
            for number, decision in history.decisions
        )
    return HistoryIndex(columns=_columns(), rounds=rounds)


def read_indexes(store: Store) -> None:
    """In a snapshot: fetch the indexes of all runs together."""
    store.files.fetch(path for run in store.runs() if store.files.exists(path := _path(store, run)))


def indexed_history(store: Store, run: str) -> RunHistory | None:
    """The history that the index tells; None where there is no index, or it is not of the rounds as they are now.

    For use in a snapshot, which lists the run's files once.
    """
    try:
        index = HistoryIndex.model_validate_json(store.files.read(_path(store, run)))
    except (FileNotFoundError, ValueError):
        return None
    rounds = enumerate(index.rounds, 1)
    if index.columns != _columns() or any(_digest(store, run, number) != entry.files for number, entry in rounds):
        return None
    decisions = [(number, Decision.model_validate(entry.decision)) for number, entry in enumerate(index.rounds, 1)]
    history = RunHistory(tuple(decisions))
    return None if _has_report(store, run, history.next_round) else history


def _has_report(store: Store, run: str, number: int) -> bool:
    """Whether a round that the index does not name may be complete."""
    return store.files.exists(round_place(store, run, number).journal.manifest(FOLDERS[-1]))


def _digest(store: Store, run: str, number: int) -> str:
    """A digest of the paths and versions of a round's files."""
    folder = f"{store.root}/runs/{run}/round-{number:03d}"
    return digest({stat.path.removeprefix(folder): stat.version for stat in store.files.walk(folder)})


def _columns() -> str:
    rows = (Decision, LabelledQuestion, Step)
    return digest({row.__name__: str(row.arrow_schema()) for row in rows})


def _path(store: Store, run: str) -> str:
    return f"{store.root}/runs/{run}/{FILE}"
