"""Who plays at a place, and which attempts count: a journal that only grows, one small object an entry.

    runs/default/round-003/_journal/00000001.json    acquired, epoch 1
    runs/default/round-003/_journal/00000002.json    committed 1-probe, epoch 1
    runs/default/round-003/_journal/heartbeat-00000001.json

An entry is written where nothing may be yet (If-None-Match, or a link on a disk), one position after the last that its
writer knows. So of all who write at a position one wins, and whoever has lost the lease finds his next position taken:
he cannot commit, however long he was paused between looking and writing. That is the whole fence; no clock is part of
it. The reply to a conditional put may be lost, which makes its outcome unknown: the entry is read back, and the token
in it tells whose it is.

Each entry holds all that its successors need (`owner`, `epoch`, `complete`), so readers look at the last one only.
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
from tasks.store.files import Files, Stat
from tasks.store.manifest import MANIFEST
from tasks.store.owner import Owner

log = logging.getLogger(__name__)

JOURNAL = "_journal"
Event = Literal["acquired", "committed", "withdrawn", "released"]


class Commit(Frozen):
    """That an attempt counts from here on."""

    model_config = ConfigDict(extra="ignore")

    stage: str
    attempt: str
    fingerprint: str
    inputs: dict[str, str]
    """Of every artifact that went in, `<fingerprint>@<digest of its contents>`."""
    manifest: str
    """The text of `manifest.json`, which is a copy of it for people."""


class Entry(Frozen):
    """One event, and how things stand after it."""

    model_config = ConfigDict(extra="ignore")

    position: int
    event: Event
    epoch: int
    """Position at which the lease was acquired under which this was written."""
    owner: Owner | None
    """Who holds the lease after this; None once it is released."""
    complete: dict[str, int] = Field(validation_alias=AliasChoices("complete", "stands"))
    """For every stage that is complete after this, the position of its commit. Versions before 0.2 wrote `stands`."""
    token: str
    """Tells this entry from all others at its position."""
    at: datetime
    """UTC, for people; nothing is decided by it."""
    commit: Commit | None = None
    request: str | None = None
    """What asked for a withdrawal, where the same request may come again."""


@dataclass(frozen=True)
class JournalHead:
    """The end of a journal."""

    position: int
    """Of the last entry, readable or not; 0 for none."""
    entry: Entry | None
    """The last one that can be read."""

    @property
    def owner(self) -> Owner | None:
        """Who holds the lease; None also where the last entry is damaged: if he lives, he finds out at his next one."""
        return self.entry.owner if self.entry and self.entry.position == self.position else None

    @property
    def complete(self) -> dict[str, int]:
        return self.entry.complete if self.entry else {}


@dataclass(frozen=True)
class Journal:
    """The journal of one place."""

    files: Files
    folder: str
    """Absolute in its file system, ending in `/_journal`."""

    @property
    def place(self) -> str:
        """Whose journal this is, for people."""
        return self.folder.removesuffix(f"/{JOURNAL}").removeprefix(self.files.root).strip("/") or self.files.url

    def head(self) -> JournalHead:
        """The last entry. One that is damaged is skipped and named: what it said counts as not said."""
        stats = self._stats()
        for stat in reversed(stats):
            if entry := self._read(stat):
                return JournalHead(_position(stats[-1]), entry)
        return JournalHead(_position(stats[-1]) if stats else 0, None)

    def entries(self) -> list[Entry]:
        """All that can be read, in order."""
        return [entry for stat in self._stats() if (entry := self._read(stat))]

    def commit(self, stage: str, head: JournalHead) -> Commit | None:
        """The commit that stands for a stage. A damaged one counts as none."""
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
        """Write at the entry's position; False where somebody else's entry lies there."""
        created = self.files.create(self.path(entry.position), _text(entry))
        if created and self.files.local:
            return True
        return _token(self.files.read(self.path(entry.position))) == entry.token

    def path(self, position: int) -> str:
        return f"{self.folder}/{position:08d}.json"

    def manifest(self, stage: str) -> str:
        """Where a stage's manifest lies."""
        return f"{self.folder.removesuffix(JOURNAL)}{stage}/{MANIFEST}"

    def heartbeat(self, epoch: int) -> str:
        """Where the owner of an epoch shows that he lives."""
        return f"{self.folder}/heartbeat-{epoch:08d}.json"

    def _stats(self) -> list[Stat]:
        """Of the entries' files, in order."""
        return sorted((stat for stat in self.files.listing(self.folder)[0] if _is_entry(stat)), key=_position)

    def _read(self, stat: Stat) -> Entry | None:
        try:
            return _read_once(self.files, stat.path, stat.version)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            told = self.files.fs.unstrip_protocol(stat.path)
            log.warning("%s is damaged (%s): what it said counts as not said", told, error)
            return None


def entry_after(
    head: JournalHead,
    event: Event,
    epoch: int,
    owner: Owner | None,
    complete: Mapping[str, int],
    commit: Commit | None = None,
    request: str | None = None,
) -> Entry:
    """The next entry, with a token of its own. Epoch 0: it begins one."""
    return Entry(
        position=head.position + 1,
        event=event,
        epoch=epoch or head.position + 1,
        owner=owner,
        complete=dict(complete),
        token=secrets.token_hex(8),
        at=datetime.now(UTC),
        commit=commit,
        request=request,
    )


@lru_cache(maxsize=4096)
def _read_once(files: Files, path: str, version: str) -> Entry:
    """Entries never change, so one that was read and checked is kept for as long as its file is the same."""
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
