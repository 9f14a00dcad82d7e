"""The journal of a place: an append-only log, one small object per entry. It decides which attempt is complete.

    runs/default/round-003/_journal/00000001.json    acquired, epoch 1
    runs/default/round-003/_journal/00000002.json    committed 1-probe, epoch 1
    runs/default/round-003/_journal/heartbeat-00000001.json

An entry is created only where no entry exists (If-None-Match, or a hard link on a disk), one position after the last
entry that its writer knows. Of several processes that write at one position, one succeeds. A process that lost the
lease finds its next position taken: it cannot commit, however long it was paused between reading and writing. This is
the whole fence; no clock is part of it. The epoch is the *fencing token* of Kleppmann ("How to do distributed locking",
2016). The reply to a conditional put may be lost, so its outcome is unknown: the writer reads the entry back, and the
random token in it tells whose entry it is.

Each entry holds all that readers need (`owner`, `epoch`, `complete`), so readers read only the last entry.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

from pydantic import AliasChoices, ConfigDict, Field

from tasks.settings.base import Frozen
from tasks.settings.fingerprint import digest
from tasks.store.files import Files
from tasks.store.manifest import MANIFEST
from tasks.store.owner import Owner
from tasks.store.stat import Stat

log = logging.getLogger(__name__)

JOURNAL = "_journal"
Event = Literal["acquired", "committed", "withdrawn", "released"]


class Commit(Frozen):
    """One attempt of a stage that is complete from this entry on."""

    model_config = ConfigDict(extra="ignore")

    stage: str
    attempt: str
    fingerprint: str
    inputs: dict[str, str]
    """Every input artifact by name, as `<fingerprint>@<digest of its contents>`."""
    manifest: str
    """The text of `manifest.json`, which is a copy of it for people."""


class Entry(Frozen):
    """One event, and the state of the place after it."""

    model_config = ConfigDict(extra="ignore")

    position: int
    event: Event
    epoch: int
    """Position of the entry that acquired the lease under which this entry was written."""
    owner: Owner | None
    """The lease's owner after this entry; None once the lease is released."""
    complete: dict[str, int] = Field(validation_alias=AliasChoices("complete", "stands"))
    """Every stage that is complete after this entry, with the position of its commit.
    Versions before 0.2 call it `stands`."""
    token: str
    """A random text that tells this entry from all others at its position."""
    at: datetime
    """UTC, for people; no decision depends on it."""
    commit: Commit | None = None
    request: str | None = None
    """Id of the request that withdrew stages, so that the same request is carried out once."""


@dataclass(frozen=True)
class JournalHead:
    """The end of a journal."""

    position: int
    """Of the last entry, readable or damaged; 0 for an empty journal."""
    entry: Entry | None
    """The last readable entry."""

    @property
    def owner(self) -> Owner | None:
        """The lease's owner; None also where the last entry is damaged: its writer is then fenced at its next entry."""
        return self.entry.owner if self.entry and self.entry.position == self.position else None

    @property
    def complete(self) -> dict[str, int]:
        return self.entry.complete if self.entry else {}

    def next_entry(
        self,
        event: Event,
        epoch: int | None,
        owner: Owner | None,
        complete: Mapping[str, int],
        commit: Commit | None = None,
        request: str | None = None,
    ) -> Entry:
        """The entry after this one, with a token of its own. `epoch=None` begins an epoch."""
        position = self.position + 1
        return Entry(
            position=position,
            event=event,
            epoch=epoch or position,
            owner=owner,
            complete=dict(complete),
            token=secrets.token_hex(8),
            at=datetime.now(UTC),
            commit=commit,
            request=request,
        )


@dataclass(frozen=True)
class Journal:
    """The journal of one place."""

    files: Files
    folder: str
    """Absolute in its file system, ending in `/_journal`."""

    @property
    def place(self) -> str:
        """The place that this journal belongs to, relative to the store: for messages."""
        return self.folder.removesuffix(f"/{JOURNAL}").removeprefix(self.files.root).strip("/") or self.files.url

    def head(self) -> JournalHead:
        """The last entry. A damaged entry is skipped and logged."""
        stats = self._stats()
        for stat in reversed(stats):
            if entry := self._read(stat):
                return JournalHead(_position(stats[-1]), entry)
        return JournalHead(_position(stats[-1]) if stats else 0, None)

    def last(self) -> Stat | None:
        """The file of the last entry."""
        stats = self._stats()
        return stats[-1] if stats else None

    def entries(self) -> list[Entry]:
        """All readable entries, in order."""
        return [entry for stat in self._stats() if (entry := self._read(stat))]

    def commit(self, stage: str, head: JournalHead) -> Commit | None:
        """The commit of a complete stage; None where the stage is not complete, or the commit is damaged."""
        position = head.complete.get(stage)
        if position is None:
            return None
        if head.entry and head.entry.position == position:
            return head.entry.commit
        try:
            entry = self._read(self.files.stat(self.path(position)))
        except FileNotFoundError:
            return None
        return entry.commit if entry else None

    def append(self, entry: Entry) -> bool:
        """Write at the entry's position; False where another process's entry is there."""
        created = self.files.create(self.path(entry.position), _text(entry))
        if created and self.files.local:
            return True
        return _token(self.files.read(self.path(entry.position))) == entry.token

    def path(self, position: int) -> str:
        return f"{self.folder}/{position:08d}.json"

    def manifest(self, stage: str) -> str:
        """Address of a stage's manifest."""
        return f"{self.folder.removesuffix(JOURNAL)}{stage}/{MANIFEST}"

    def heartbeat(self, epoch: int) -> str:
        """Address of the file that the epoch's owner rewrites while it is alive."""
        return f"{self.folder}/heartbeat-{epoch:08d}.json"

    def _stats(self) -> list[Stat]:
        """The entries' files, in order of position."""
        return sorted((stat for stat in self.files.listing(self.folder)[0] if _is_entry(stat)), key=_position)

    def _read(self, stat: Stat) -> Entry | None:
        try:
            return _read_once(self.files, stat.path, stat.version)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            address = self.files.fs.unstrip_protocol(stat.path)
            log.warning("%s is damaged (%s): this journal entry is ignored", address, error)
            return None


@lru_cache(maxsize=4096)
def _read_once(files: Files, path: str, version: str) -> Entry:
    """Entries never change, so a checked entry is cached as long as its file's `version` is the same."""
    body = json.loads(files.read(path))
    if body.pop("digest") != digest(body):
        raise ValueError("sha256 differs")
    return Entry.model_validate(body)


def _text(entry: Entry) -> bytes:
    body = entry.model_dump(mode="json")
    return json.dumps({**body, "digest": digest(body)}, indent=1).encode()


def _token(text: bytes) -> str | None:
    try:
        return str(json.loads(text)["token"])
    except (ValueError, KeyError, TypeError):
        return None


def _is_entry(stat: Stat) -> bool:
    return re.fullmatch(r"\d{8}\.json", stat.name) is not None


def _position(stat: Stat) -> int:
    return int(stat.name.removesuffix(".json"))
