"""The lease of a place: the right to commit there. It has an epoch, a heartbeat, and four states.

    acquired ──────────────▶ CONFIRMED ◀──────────────── UNCONFIRMED ◀────── acquired from an owner
    after a release              │   the write is confirmed,    ▲            that did not release
                                 │   or `recover` is done       │
                                 └──────────────────────────────┘
                                          a write begins

    CONFIRMED     The last entry of the journal is known, and the newest commit's manifest is published.
    UNCONFIRMED   A write was begun and not confirmed (its reply may be lost), or the last owner was killed. The next
                  write first calls `recover`: read the journal's end, and publish the newest commit.
    LOST          Another process began an epoch: every write raises `Fenced`. Entered from both states above.
    RELEASED      From CONFIRMED, the journal says that the lease is free. From UNCONFIRMED and LOST nothing is written,
                  so the next owner takes the lease over and recovers.

`TRANSITIONS` lists all moves. The heartbeat decides only which process works; the journal ensures that a process which
lost its lease commits nothing. `tasks.store.acquire` says how a process gets a lease.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum
from typing import NoReturn

from tasks.settings.errors import UserError
from tasks.store.faults import StoreFault
from tasks.store.journal import Commit, Entry, Event, Journal, JournalHead
from tasks.store.manifest import Manifest
from tasks.store.owner import Owner

log = logging.getLogger(__name__)

SILENCE = 60.0
"""Seconds without a heartbeat after which a lease is taken over. `ACTIVE_ZERO_LEASE_SECONDS` overrides it."""
BEATS = 6
"""Heartbeats in that time."""


class Fenced(UserError):
    """The lease was lost to another process, so this process may commit nothing more."""


class LeaseState(Enum):
    """See the head of this module."""

    CONFIRMED = "confirmed"
    UNCONFIRMED = "unconfirmed"
    LOST = "lost"
    RELEASED = "released"


TRANSITIONS: dict[LeaseState, set[LeaseState]] = {
    LeaseState.CONFIRMED: {LeaseState.UNCONFIRMED, LeaseState.LOST, LeaseState.RELEASED},
    LeaseState.UNCONFIRMED: {LeaseState.CONFIRMED, LeaseState.LOST, LeaseState.RELEASED},
    LeaseState.LOST: {LeaseState.RELEASED},
    LeaseState.RELEASED: set(),
}
"""The states that may follow each state."""


def silence() -> float:
    """Seconds without a heartbeat after which a lease is taken over."""
    return float(os.environ.get("ACTIVE_ZERO_LEASE_SECONDS") or SILENCE)


class Lease:
    """The right to commit at a place, until it is released or lost. Made by `acquire.hold`."""

    def __init__(self, journal: Journal, entry: Entry, owner: Owner, state: LeaseState) -> None:
        self.journal = journal
        self.epoch = entry.epoch
        self.owner = owner
        self.users = 1
        """How many `with` blocks of this process hold the lease."""
        self._head = JournalHead(entry.position, entry)
        self.state = state
        self._writing = threading.RLock()
        self._ended = threading.Event()
        self._heartbeat = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._heartbeat.start()

    def commit(self, manifest: Manifest) -> None:
        """Make an attempt the complete one. Raises `Fenced` and changes nothing where the lease was lost."""
        commit = Commit(
            stage=manifest.stage,
            attempt=manifest.attempt,
            fingerprint=manifest.fingerprint,
            inputs=manifest.input_digests,
            manifest=manifest.model_dump_json(indent=2),
        )
        with self._write():
            complete = {**self._head.complete, manifest.stage: self._head.position + 1}
            self._append(self._next("committed", complete, commit=commit))
            self._publish(commit)

    def withdraw(self, stages: Sequence[str], request: str | None = None) -> None:
        """Mark stages as not complete from here on."""
        with self._write():
            complete = {name: position for name, position in self._head.complete.items() if name not in stages}
            self._append(self._next("withdrawn", complete, request=request))
            for stage in stages:
                self._check_not_lost()
                self.journal.files.remove(self.journal.manifest(stage))

    def recover(self) -> None:
        """UNCONFIRMED -> CONFIRMED: read the journal's end and publish its newest commit. Raises `Fenced`."""
        with self._writing:
            if self.state is LeaseState.CONFIRMED:
                return
            head = self.journal.head()
            if head.entry is None or head.entry.epoch != self.epoch:
                self._lose()
            self._head = head
            if head.complete:
                newest = max(head.complete, key=lambda stage: head.complete[stage])  # earlier commits were published
                if commit := self.journal.commit(newest, head):
                    self._publish(commit)
            self._enter(LeaseState.CONFIRMED)

    def check(self) -> None:
        """Raises `Fenced` where the lease was lost: no work begins whose commit would be refused."""
        with self._writing:
            entry = self.journal.head().entry
            if entry and entry.epoch != self.epoch:
                self._lose()
            self.recover()

    def release(self) -> None:
        """Free the lease. Only in CONFIRMED the journal says so; else the next owner takes over and recovers."""
        self._ended.set()
        self._heartbeat.join(timeout=5)
        try:
            if self.state is LeaseState.CONFIRMED:
                self._append(self._head.next_entry("released", self.epoch, None, self._head.complete))
                self.journal.files.remove(self.journal.heartbeat(self.epoch))
        except (StoreFault, Fenced) as error:
            log.warning("the lease on %s was not released: %s", self.journal.place, error)
        self._enter(LeaseState.RELEASED)

    @contextmanager
    def _write(self) -> Iterator[None]:
        """CONFIRMED -> UNCONFIRMED while the block writes; an exception leaves UNCONFIRMED or LOST."""
        with self._writing:
            self.recover()
            self._enter(LeaseState.UNCONFIRMED)
            yield
            self._enter(LeaseState.CONFIRMED)

    def _enter(self, state: LeaseState) -> None:
        if state not in TRANSITIONS[self.state]:
            raise RuntimeError(f"the lease on {self.journal.place} cannot go from {self.state} to {state}")
        self.state = state

    def _next(
        self, event: Event, complete: dict[str, int], commit: Commit | None = None, request: str | None = None
    ) -> Entry:
        return self._head.next_entry(event, self.epoch, self.owner, complete, commit, request)

    def _append(self, entry: Entry) -> None:
        if not self.journal.append(entry):
            self._lose()
        self._head = JournalHead(entry.position, entry)

    def _publish(self, commit: Commit) -> None:
        """Write `manifest.json`, the last step of a commit; not where the lease was lost since the commit."""
        self._check_not_lost()
        files, path, text = self.journal.files, self.journal.manifest(commit.stage), commit.manifest.encode()
        try:
            if files.read(path) == text:
                return
        except FileNotFoundError:
            pass
        files.replace(path, text)

    def _check_not_lost(self) -> None:
        if self.journal.head().position != self._head.position:
            self._lose()

    def _lose(self) -> NoReturn:
        if self.state is not LeaseState.LOST:
            self._enter(LeaseState.LOST)
        new_owner = self.journal.head().owner or "another process, which has ended since"
        raise Fenced(
            f"the lease on {self.journal.place} went to {new_owner} while this process was silent, so this process "
            "commits nothing more: run the same command again (without --force-from), and what is complete is reused."
        )

    def _beat(self) -> None:
        beats = 0
        while not self._ended.wait(silence() / BEATS):
            beats += 1
            text = json.dumps({"beat": beats, "owner": str(self.owner), "at": datetime.now(UTC).isoformat()})
            try:
                self.journal.files.replace(self.journal.heartbeat(self.epoch), text.encode())
            except (StoreFault, OSError) as error:
                log.warning("no heartbeat for %s: %s", self.journal.place, error)
