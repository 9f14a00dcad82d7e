"""What no commit makes count: attempts that were killed, replaced or withdrawn, and files half written.

A file is garbage if it lies in a stage of a place with a journal, its name holds the id of an attempt that does not
stand there, and that for longer than a set age; so is every partial result of that age, which only a killed stage
leaves behind. Nothing is garbage at a place where somebody holds the lease and lives, and nothing whose name is not one
of ours. What is removed goes under the place's lease, so an owner who was silent for long cannot make it count
afterwards. Journals stay: they are small, and a hole in one would let a fenced process in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

from tasks.store.acquire import Held, hold
from tasks.store.files import TEMPORARY, Files, Stat
from tasks.store.journal import JOURNAL, Commit, Entry, Journal, JournalHead
from tasks.store.lease import silence
from tasks.store.manifest import MANIFEST
from tasks.store.partial_results import NAMED, PARTIAL

ROWS, ATTACHED = re.compile(r"part-([0-9a-f]{8})-\d{5}\.parquet"), re.compile(r"([0-9a-f]{8})/.+")
PARTIAL_FILE = re.compile(rf"{PARTIAL}/[0-9a-f]{{32}}/{NAMED.pattern}")
KNOWN_DEAD = 60
"""An owner of another machine counts as dead after this many times the silence that lets others take over."""


@dataclass(frozen=True)
class Garbage:
    """One file that may go."""

    path: str
    size: int
    why: str
    age: timedelta
    """Since it was written, or was replaced: somebody may have read it until then."""


@dataclass(frozen=True)
class Swept:
    """What lies in a store that does not count."""

    garbage: tuple[Garbage, ...]
    busy: tuple[str, ...]
    """Places that were left alone: somebody plays there, or the end of their journal is damaged."""


def garbage(files: Files, older: timedelta) -> Swept:
    """What may be removed below a store's root. Nothing is removed."""
    found, busy = list[Garbage](), list[str]()
    for journal in _places(files, files.root):
        if _is_busy(journal, journal.head()):
            busy.append(journal.place)
        else:
            found += _garbage_of(journal, older)
    return Swept(tuple(found), tuple(busy))


def sweep(files: Files, older: timedelta) -> Swept:
    """Remove it, place by place; what was removed."""
    removed, busy = list[Garbage](), list[str]()
    for journal in _places(files, files.root):
        if _is_busy(journal, journal.head()):
            busy.append(journal.place)
        elif _garbage_of(journal, older):
            try:
                removed += _swept(journal, older)
            except Held:
                busy.append(journal.place)
    return Swept(tuple(removed), tuple(busy))


def _swept(journal: Journal, older: timedelta) -> list[Garbage]:
    """Looked for again once nobody else can commit there."""
    with hold(journal, wait=False):
        found = _garbage_of(journal, older)
        for one in found:
            journal.files.remove(one.path)
            journal.files.prune(str(PurePosixPath(one.path).parent))
    return found


def _places(files: Files, folder: str) -> Iterator[Journal]:
    """Every place in a folder and below."""
    _, folders = files.listing(folder)
    if JOURNAL in folders:
        yield Journal(files, f"{folder}/{JOURNAL}")
    for name in folders:
        if name != JOURNAL:
            yield from _places(files, f"{folder}/{name}")


def _own_files(files: Files, folder: str) -> Iterator[Stat]:
    """All files below a folder of a place, but not those of places further down."""
    here, folders = files.listing(folder)
    if JOURNAL not in folders:
        yield from here
        for name in folders:
            yield from _own_files(files, f"{folder}/{name}")


def _is_busy(journal: Journal, head: JournalHead) -> bool:
    """Whether somebody holds the lease who may live; or the journal's end is damaged, so that nobody can tell."""
    if head.entry is None or head.entry.position != head.position:
        return True
    owner = head.entry.owner
    if owner is None or owner.gone:
        return False
    try:
        last = journal.files.stat(journal.heartbeat(head.entry.epoch)).modified
    except FileNotFoundError:
        last = journal.files.stat(journal.path(head.position)).modified
    return owner.runs or (datetime.now(UTC) - last).total_seconds() < KNOWN_DEAD * silence()


def _garbage_of(journal: Journal, older: timedelta) -> list[Garbage]:
    return [one for one in _all_garbage_of(journal, journal.head(), datetime.now(UTC)) if one.age >= older]


def _all_garbage_of(journal: Journal, head: JournalHead, now: datetime) -> Iterator[Garbage]:
    """A stage's attached files before its rows, which tell that they are an attempt's."""
    commits = {stage: journal.commit(stage, head) for stage in head.complete}
    entries = journal.entries()
    ever = {(entry.commit.stage, entry.commit.attempt) for entry in entries if entry.commit}
    ended = _ended(entries)
    named = [(file, *_names(journal, file)) for file in _inside(journal)]
    made = ever | {(stage, match[1]) for _, stage, name in named if (match := ROWS.fullmatch(name))}
    for file, stage, name in sorted(named, key=lambda one: ROWS.fullmatch(one[2]) is not None):
        if stage in commits and commits[stage] is None:
            continue  # its commit is damaged: nobody can tell what counts
        commit = commits.get(stage)
        if why := _why(name, stage, commit.attempt if commit else None, made, ever):
            attempt = _attempt_in(name)
            since = max(file.modified, ended.get((stage, attempt), file.modified)) if attempt else file.modified
            yield Garbage(file.path, file.size, why, now - since)


def _inside(journal: Journal) -> list[Stat]:
    """All files of a place that belong to no place further down."""
    folder = journal.folder.removesuffix(f"/{JOURNAL}")
    _, folders = journal.files.listing(folder)
    return [file for name in folders for file in _own_files(journal.files, f"{folder}/{name}")]


def _ended(entries: Sequence[Entry]) -> dict[tuple[str, str], datetime]:
    """When each attempt that counted, by stage and id, ceased to."""
    ended: dict[tuple[str, str], datetime] = {}
    standing: dict[str, Commit] = {}
    for entry in entries:
        for stage in [
            stage for stage in standing if stage not in entry.complete or entry.complete[stage] == entry.position
        ]:
            ended[stage, standing.pop(stage).attempt] = entry.at
        if entry.commit:
            standing[entry.commit.stage] = entry.commit
    return ended


def _names(journal: Journal, file: Stat) -> tuple[str, str]:
    """The stage that a file lies in, and its name there."""
    stage, _, name = file.path.removeprefix(journal.folder.removesuffix(JOURNAL)).partition("/")
    return stage, name


def _why(
    name: str, stage: str, standing: str | None, made: set[tuple[str, str]], ever: set[tuple[str, str]]
) -> str | None:
    """Why a file of a stage does not count; None where it does, or is none of ours."""
    if TEMPORARY.fullmatch(PurePosixPath(name).name):
        return "half written"
    if name == MANIFEST:
        return None if standing else "withdrawn"
    if PARTIAL_FILE.fullmatch(name):
        return "partial result of a complete stage" if standing else "partial result of an unfinished stage"
    attempt = _attempt_in(name)
    if attempt is None or attempt == standing or (stage, attempt) not in made:
        return None
    return "replaced" if (stage, attempt) in ever else "never committed"


def _attempt_in(name: str) -> str | None:
    """The id in the name of an attempt's file."""
    match = ROWS.fullmatch(name) or ATTACHED.fullmatch(name)
    return match[1] if match else None
