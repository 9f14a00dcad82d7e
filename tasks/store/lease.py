"""One plays, the others wait or leave: a lease on a place, with an epoch, a heartbeat and a fence.

Who holds a lease writes a heartbeat. Another process takes the lease over once its owner is known to have ended (a
process of this machine), or has shown no sign of life for `ACTIVE_ZERO_LEASE_SECONDS`, measured on the watcher's own
clock: clocks of different machines are never compared. The heartbeat decides only who works; that nobody commits who
has lost his lease is the journal's doing (see there).

A process that already holds a place's lease holds it again at once, in whichever thread.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from tasks.settings.errors import UserError
from tasks.store.faults import StoreFault
from tasks.store.journal import Commit, Entry, Event, Journal, JournalHead, entry_after
from tasks.store.manifest import Manifest
from tasks.store.owner import Owner

log = logging.getLogger(__name__)

SILENCE = 60.0
"""Seconds without a sign of life after which a lease is taken over."""
BEATS = 6
"""Heartbeats in that time."""


class Held(UserError):
    """Somebody else is at work there."""


class Fenced(UserError):
    """The lease was lost to somebody else, so nothing more may be committed."""


def silence() -> float:
    """Seconds without a sign of life after which a lease is taken over."""
    return float(os.environ.get("ACTIVE_ZERO_LEASE_SECONDS") or SILENCE)


@contextmanager
def hold(journal: Journal, wait: bool) -> Iterator[Lease]:
    """The lease on a journal's place for the time of a `with`.

    Where another process holds it and lives: wait for it, or raise `Held`.
    """
    lease = _acquired(journal, wait)
    try:
        yield lease
    finally:
        _leave(lease)


def refuse_if_held(journal: Journal) -> None:
    """Raise `Held` where another process of this machine is sure to be at work, before anything is begun."""
    owner = journal.head().owner
    if owner and owner.runs and owner != Owner.this():
        raise Held(_busy(journal, owner))


def _busy(journal: Journal, owner: Owner) -> str:
    return f"{journal.place} is being played by {owner}: give --wait to wait for it, or let it play."


class Lease:
    """The right to commit at a place, until it is released or lost. Made by `hold`."""

    def __init__(self, journal: Journal, entry: Entry, owner: Owner) -> None:
        self.journal = journal
        self.epoch = entry.epoch
        self.owner = owner
        self.users = 1
        self._head = JournalHead(entry.position, entry)
        self._doubtful = False
        self._writing = threading.RLock()
        self._ended = threading.Event()
        self._pulse = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._pulse.start()

    def commit(self, manifest: Manifest) -> None:
        """Make an attempt count. Raises `Fenced` where the lease was lost, and then nothing has changed."""
        commit = Commit(
            stage=manifest.stage,
            attempt=manifest.attempt,
            fingerprint=manifest.fingerprint,
            inputs=manifest.input_digests,
            manifest=manifest.model_dump_json(indent=2),
        )
        with self._settled():
            self._append("committed", {**self._head.complete, manifest.stage: self._head.position + 1}, commit=commit)
            self._publish(commit)

    def withdraw(self, stages: Sequence[str], request: str | None = None) -> None:
        """These stages count as not complete from here on, whatever they hold."""
        with self._settled():
            complete = {name: position for name, position in self._head.complete.items() if name not in stages}
            self._append("withdrawn", complete, request=request)
            for stage in stages:
                self._still_mine()
                self.journal.files.remove(self.journal.manifest(stage))

    def settle(self) -> None:
        """After a request whose outcome is unknown, or a former owner's end: what was committed is published."""
        with self._writing:
            if not self._doubtful:
                return
            head = self.journal.head()
            if head.entry is None or head.entry.epoch != self.epoch:
                raise Fenced(self._lost())
            self._head = head
            if head.complete:
                latest = max(head.complete, key=lambda stage: head.complete[stage])  # those before it were published
                if commit := self.journal.commit(latest, head):
                    self._publish(commit)
            self._doubtful = False

    def look(self) -> None:
        """Raises `Fenced` where the lease was lost: no work begins whose commit would be refused."""
        with self._writing:
            entry = self.journal.head().entry
            if entry and entry.epoch != self.epoch:
                raise Fenced(self._lost())
            self.settle()

    def doubt(self) -> None:
        """The next one to write looks first."""
        self._doubtful = True

    def release(self) -> None:
        """Let the next one in. Not where something is in doubt: the next one then looks, since nobody let him in."""
        self._ended.set()
        self._pulse.join(timeout=5)
        try:
            if not self._doubtful:
                self._write(entry_after(self._head, "released", self.epoch, None, self._head.complete))
                self.journal.files.remove(self.journal.heartbeat(self.epoch))
        except (StoreFault, Fenced) as error:
            log.warning("the lease on %s was not released: %s", self.journal.place, error)

    @contextmanager
    def _settled(self) -> Iterator[None]:
        """Around what is written: an exception leaves a doubt, since a reply may be what was lost."""
        with self._writing:
            self.settle()
            self._doubtful = True
            yield
            self._doubtful = False

    def _append(
        self, event: Event, complete: dict[str, int], commit: Commit | None = None, request: str | None = None
    ) -> None:
        self._write(entry_after(self._head, event, self.epoch, self.owner, complete, commit, request))

    def _write(self, entry: Entry) -> None:
        if not self.journal.append(entry):
            raise Fenced(self._lost())
        self._head = JournalHead(entry.position, entry)

    def _publish(self, commit: Commit) -> None:
        """Write the manifest that people read, last of all; unless the lease was lost since the commit."""
        self._still_mine()
        files, path, text = self.journal.files, self.journal.manifest(commit.stage), commit.manifest.encode()
        try:
            if files.read(path) == text:
                return
        except FileNotFoundError:
            pass
        files.replace(path, text)

    def _still_mine(self) -> None:
        if self.journal.head().position != self._head.position:
            raise Fenced(self._lost())

    def _lost(self) -> str:
        now = self.journal.head().owner or "another process, which has ended since"
        return (
            f"the lease on {self.journal.place} went to {now} while this process was silent, so nothing more is "
            "committed here: run the same command again (without --force-from), and what is complete is reused."
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


class _Watch:
    """Whether the owner of a lease shows signs of life."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._sign: object = None
        self._since = time.monotonic()
        self._told = False
        self.moved = False

    def look(self, head: JournalHead) -> None:
        """Compare with what was seen before."""
        sign = (head.position, self._heartbeat(head))
        if sign != self._sign:
            self.moved = self._sign is not None
            self._sign, self._since = sign, time.monotonic()

    @property
    def silent(self) -> bool:
        return time.monotonic() - self._since > silence()

    def tell(self, head: JournalHead) -> None:
        """Say once what is waited for."""
        if not self._told:
            log.info("%s is held by %s: waiting", self._journal.place, head.owner)
            self._told = True

    def _heartbeat(self, head: JournalHead) -> bytes:
        try:
            return self._journal.files.read(self._journal.heartbeat(head.entry.epoch if head.entry else 0))
        except FileNotFoundError:
            return b""


_held: dict[Journal, Lease] = {}
_taking = threading.RLock()


def _acquired(journal: Journal, wait: bool) -> Lease:
    watch = _Watch(journal)
    while True:
        with _taking:
            if lease := _own(journal):
                return lease
            head = journal.head()
            if _is_free(head, watch):
                if lease := _take(journal, head):
                    return lease
                continue
        if not wait and head.owner and (head.owner.runs or watch.moved):
            raise Held(_busy(journal, head.owner))
        watch.tell(head)
        time.sleep(min(1.0, silence() / 20))


def _own(journal: Journal) -> Lease | None:
    """The lease that this process holds already. A forked child has its parent's memory, but not his leases."""
    lease = _held.get(journal)
    if lease is None or lease.owner.pid != os.getpid():
        return None
    lease.look()
    lease.users += 1
    return lease


def _is_free(head: JournalHead, watch: _Watch) -> bool:
    """Nobody's, or of an owner who has ended or fallen silent."""
    if head.owner is None or head.owner.gone or head.owner == Owner.this():
        return True
    watch.look(head)
    return watch.silent


def _take(journal: Journal, head: JournalHead) -> Lease | None:
    """Begin an epoch; None where somebody else was quicker."""
    owner = Owner.this()
    entry = entry_after(head, "acquired", 0, owner, head.complete)
    if not journal.append(entry):
        return None
    lease = _held[journal] = Lease(journal, entry, owner)
    if head.position and (head.entry is None or head.entry.event != "released"):
        log.info("%s: taken over from %s", journal.place, head.owner or "an unknown owner")
        _put_right(lease)
    return lease


def _put_right(lease: Lease) -> None:
    """Publish what a former owner committed last, before anybody looks."""
    lease.doubt()
    try:
        lease.settle()
    except BaseException:
        _leave(lease)
        raise


def _leave(lease: Lease) -> None:
    with _taking:
        lease.users -= 1
        if lease.users:
            return
        _held.pop(lease.journal, None)
    lease.release()
