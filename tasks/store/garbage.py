"""Garbage: files of attempts that were killed, replaced or withdrawn, partial results, and half-written files.

A file is garbage if it is in a stage's folder of a place with a journal, its name contains the id of an attempt that is
not the complete one, and it has been so for a set age. Partial results of that age are garbage too: only a killed stage
leaves them. A place whose lease has a live owner is skipped, and so is every file whose name is not one of the store's.
Files are removed under the place's lease, so an owner that was silent for long cannot commit them afterwards. Journals
are kept: they are small, and a gap in one would let a fenced process commit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

from tasks.store.acquire import Held, hold
from tasks.store.files import TEMPORARY, Files
from tasks.store.journal import JOURNAL, Commit, Entry, Journal, JournalHead
from tasks.store.lease import silence
from tasks.store.manifest import MANIFEST
from tasks.store.partial_results import NAMED, PARTIAL
from tasks.store.snapshot import live
from tasks.store.stat import Stat

ROWS, ATTACHED = re.compile(r"part-([0-9a-f]{8})-\d{5}\.parquet"), re.compile(r"([0-9a-f]{8})/.+")
PARTIAL_FILE = re.compile(rf"({PARTIAL}|drafts)/[0-9a-f]{{32}}/{NAMED.pattern}")
"""Versions before 0.2 call the folder `drafts`."""
KNOWN_DEAD = 60
"""An owner on another machine is treated as dead after this many times `silence()`."""


@dataclass(frozen=True)
class GarbageFile:
    """One file that may be removed."""

    path: str
    size: int
    why: str
    age: timedelta
    """Since the file was written, or its attempt was replaced: until then another process may have read it."""


@dataclass(frozen=True)
class GarbageReport:
    """The garbage of a store."""

    files: tuple[GarbageFile, ...]
    skipped: tuple[str, ...]
    """Places whose lease has a live owner, or whose journal's end is damaged."""


@dataclass(frozen=True)
class _StageFile:
    """A file in a stage's folder."""

    stat: Stat
    stage: str
    name: str
    """Its path relative to the stage's folder."""

    @property
    def attempt(self) -> str | None:
        """The attempt's id in the name of a file of rows or an attached file; else None."""
        match = ROWS.fullmatch(self.name) or ATTACHED.fullmatch(self.name)
        return match[1] if match else None

    @property
    def is_rows(self) -> bool:
        return ROWS.fullmatch(self.name) is not None


def find_garbage(files: Files, min_age: timedelta) -> GarbageReport:
    """The garbage below a store's root. Nothing is removed."""
    found, skipped = list[GarbageFile](), list[str]()
    with files.snapshot([files.root]):
        for journal in _suspects(files):
            if _is_busy(journal, journal.head()):
                skipped.append(journal.place)
            else:
                found += _garbage_of(journal, min_age)
    return GarbageReport(tuple(found), tuple(skipped))


def remove_garbage(files: Files, min_age: timedelta) -> GarbageReport:
    """Remove the garbage below a store's root, place by place; returns what was removed."""
    removed, skipped = list[GarbageFile](), list[str]()
    with files.snapshot([files.root]):
        for journal in _suspects(files):
            if _is_busy(journal, journal.head()):
                skipped.append(journal.place)
            elif _garbage_of(journal, min_age):
                try:
                    with live():
                        removed += _remove(journal, min_age)
                except Held:
                    skipped.append(journal.place)
    return GarbageReport(tuple(removed), tuple(skipped))


def _remove(journal: Journal, min_age: timedelta) -> list[GarbageFile]:
    """Remove a place's garbage, listed again under the lease: now no other process can commit there."""
    with hold(journal, wait=False):
        garbage = _garbage_of(journal, min_age)
        for file in garbage:
            journal.files.remove(file.path)
            journal.files.prune(str(PurePosixPath(file.path).parent))
    return garbage


def _suspects(files: Files) -> list[Journal]:
    """The journals of places that may hold garbage, by the names of their files alone; what they need is fetched."""
    found = [journal for journal in _journals(files, files.root) if _is_suspect(journal)]
    files.fetch(stat.path for journal in found for stat in files.listing(journal.folder)[0])
    return found


def _is_suspect(journal: Journal) -> bool:
    """Whether a place has other files than one whole attempt a stage."""
    attempts, whole = dict[str, set[str | None]](), set[str]()
    for file in _stage_files(journal):
        if file.stage == JOURNAL:
            continue
        if file.name == MANIFEST:
            whole.add(file.stage)
        else:
            attempts.setdefault(file.stage, set()).add(file.attempt)
    return any(len(found) > 1 or None in found or stage not in whole for stage, found in attempts.items()) or bool(
        whole - attempts.keys()
    )


def _journals(files: Files, folder: str) -> Iterator[Journal]:
    """The journal of every place in a folder and below."""
    _, folders = files.listing(folder)
    if JOURNAL in folders:
        yield Journal(files, f"{folder}/{JOURNAL}")
    for name in folders:
        if name != JOURNAL:
            yield from _journals(files, f"{folder}/{name}")


def _is_busy(journal: Journal, head: JournalHead) -> bool:
    """Whether the lease's owner may be alive, or the journal's end is damaged, so that the owner is unknown."""
    if head.entry is None or head.entry.position != head.position:
        return True
    owner = head.entry.owner
    if owner is None or owner.gone:
        return False
    try:
        last_sign = journal.files.stat(journal.heartbeat(head.entry.epoch)).modified
    except FileNotFoundError:
        last_sign = journal.files.stat(journal.path(head.position)).modified
    return owner.runs or (datetime.now(UTC) - last_sign).total_seconds() < KNOWN_DEAD * silence()


def _garbage_of(journal: Journal, min_age: timedelta) -> list[GarbageFile]:
    garbage = _all_garbage_of(journal, journal.head(), datetime.now(UTC))
    return [file for file in garbage if file.age >= min_age]


def _all_garbage_of(journal: Journal, head: JournalHead, now: datetime) -> Iterator[GarbageFile]:
    """Garbage of any age. A stage's rows come last: they show that the attached files belong to an attempt."""
    commits = {stage: journal.commit(stage, head) for stage in head.complete}
    entries = journal.entries()
    committed = {(entry.commit.stage, entry.commit.attempt) for entry in entries if entry.commit}
    ended, files = _ended(entries), _stage_files(journal)
    attempts = committed | {(file.stage, file.attempt) for file in files if file.is_rows and file.attempt}
    for file in sorted(files, key=lambda file: file.is_rows):
        if file.stage in commits and commits[file.stage] is None:
            continue  # its commit is damaged, so its complete attempt is unknown
        commit = commits.get(file.stage)
        if why := _why(file, commit.attempt if commit else None, attempts, committed):
            written = file.stat.modified
            since = max(written, ended.get((file.stage, file.attempt), written)) if file.attempt else written
            yield GarbageFile(file.stat.path, file.stat.size, why, now - since)


def _ended(entries: Sequence[Entry]) -> dict[tuple[str, str], datetime]:
    """When each committed attempt, by stage and id, was replaced or withdrawn."""
    ended: dict[tuple[str, str], datetime] = {}
    current: dict[str, Commit] = {}
    for entry in entries:
        for stage in list(current):
            if entry.complete.get(stage, entry.position) == entry.position:
                ended[stage, current.pop(stage).attempt] = entry.at
        if entry.commit:
            current[entry.commit.stage] = entry.commit
    return ended


def _stage_files(journal: Journal) -> list[_StageFile]:
    """All files of a place, without those of places below it."""
    place = journal.folder.removesuffix(f"/{JOURNAL}")
    _, folders = journal.files.listing(place)
    stats = [stat for name in folders for stat in _walk_own(journal.files, f"{place}/{name}")]
    return [_stage_file(stat, place) for stat in stats]


def _stage_file(stat: Stat, place: str) -> _StageFile:
    stage, _, name = stat.path.removeprefix(f"{place}/").partition("/")
    return _StageFile(stat, stage, name)


def _walk_own(files: Files, folder: str) -> Iterator[Stat]:
    """All files below a folder of a place, without those of places below it."""
    here, folders = files.listing(folder)
    if JOURNAL not in folders:
        yield from here
        for name in folders:
            yield from _walk_own(files, f"{folder}/{name}")


def _why(
    file: _StageFile, complete: str | None, attempts: set[tuple[str, str]], committed: set[tuple[str, str]]
) -> str | None:
    """Why a file is garbage; None where it is not. `complete` is the id of the stage's complete attempt, if any."""
    if TEMPORARY.fullmatch(PurePosixPath(file.name).name):
        return "half written"
    if file.name == MANIFEST:
        return None if complete else "withdrawn"
    if PARTIAL_FILE.fullmatch(file.name):
        return "partial result of a complete stage" if complete else "partial result of an unfinished stage"
    if file.attempt is None or file.attempt == complete or (file.stage, file.attempt) not in attempts:
        return None
    return "replaced" if (file.stage, file.attempt) in committed else "never committed"
