"""How a process gets the lease of a place: at once, after a wait, or by a takeover.

A lease is taken over where its owner has ended (a process of this machine), or has written no heartbeat for
`ACTIVE_ZERO_LEASE_SECONDS`. The waiting process measures this on its own clock; clocks of two machines are never
compared. A process that already holds the lease holds it again at once, in any of its threads.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.settings.errors import UserError
from tasks.store.journal import Journal, JournalHead
from tasks.store.lease import Lease, LeaseState, silence
from tasks.store.owner import Owner

log = logging.getLogger(__name__)


class Held(UserError):
    """Another process holds the lease."""


@contextmanager
def hold(journal: Journal, wait: bool) -> Iterator[Lease]:
    """The lease on a journal's place for the time of a `with`.

    Where a live process holds it: wait, or raise `Held`.
    """
    lease = _acquire(journal, wait)
    try:
        yield lease
    finally:
        _leave(lease)


def refuse_if_held(journal: Journal) -> None:
    """Raise `Held` where another process of this machine is known to hold the lease: before any work begins."""
    owner = journal.head().owner
    if owner and owner.runs and owner != Owner.this():
        raise _held_by(journal, owner)


def _held_by(journal: Journal, owner: Owner) -> Held:
    return Held(f"{journal.place} is being played by {owner}: give --wait to wait for it, or let it finish.")


_leases: dict[Journal, Lease] = {}
"""The leases of this process."""
_acquiring = threading.RLock()


def _acquire(journal: Journal, wait: bool) -> Lease:
    watch = _HeartbeatWatch(journal)
    while True:
        with _acquiring:
            if lease := _own(journal):
                return lease
            head = journal.head()
            if _is_free(head, watch):
                if lease := _take(journal, head):
                    return lease
                continue
        if not wait and head.owner and (head.owner.runs or watch.changed):
            raise _held_by(journal, head.owner)
        watch.log_once(head)
        time.sleep(min(1.0, silence() / 20))


def _own(journal: Journal) -> Lease | None:
    """The lease that this process already holds. A forked child has its parent's memory, but not its leases."""
    lease = _leases.get(journal)
    if lease is None or lease.owner.pid != os.getpid():
        return None
    lease.check()
    lease.users += 1
    return lease


def _is_free(head: JournalHead, watch: _HeartbeatWatch) -> bool:
    """Whether the lease has no owner, or an owner that has ended or is silent."""
    if head.owner is None or head.owner.gone or head.owner == Owner.this():
        return True
    watch.update(head)
    return watch.silent


def _take(journal: Journal, head: JournalHead) -> Lease | None:
    """Begin an epoch; None where another process was faster."""
    owner = Owner.this()
    entry = head.next_entry("acquired", None, owner, head.complete)
    if not journal.append(entry):
        return None
    if head.position == 0 or (head.entry and head.entry.event == "released"):
        lease = _leases[journal] = Lease(journal, entry, owner, LeaseState.CONFIRMED)
        return lease
    log.info("%s: lease taken over from %s", journal.place, head.owner or "an unknown owner")
    lease = _leases[journal] = Lease(journal, entry, owner, LeaseState.UNCONFIRMED)
    try:
        lease.recover()
    except BaseException:
        _leave(lease)
        raise
    return lease


def _leave(lease: Lease) -> None:
    with _acquiring:
        lease.users -= 1
        if lease.users:
            return
        _leases.pop(lease.journal, None)
    lease.release()


def release_all() -> None:
    """Release all leases of this process, which is about to end amid its work. What it still writes is refused."""
    for lease in list(_leases.values()):
        lease.release()


class _HeartbeatWatch:
    """Whether the owner of a lease still writes heartbeats or journal entries."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._seen: tuple[int, bytes] | None = None
        """Journal position and heartbeat at the last update."""
        self._since = time.monotonic()
        self._logged = False
        self.changed = False

    def update(self, head: JournalHead) -> None:
        """Compare with the last update."""
        seen = (head.position, self._heartbeat(head))
        if seen != self._seen:
            self.changed = self._seen is not None
            self._seen, self._since = seen, time.monotonic()

    @property
    def silent(self) -> bool:
        return time.monotonic() - self._since > silence()

    def log_once(self, head: JournalHead) -> None:
        """Log once which process is waited for."""
        if not self._logged:
            log.info("%s is held by %s: waiting", self._journal.place, head.owner)
            self._logged = True

    def _heartbeat(self, head: JournalHead) -> bytes:
        try:
            return self._journal.files.read(self._journal.heartbeat(head.entry.epoch if head.entry else 0))
        except FileNotFoundError:
            return b""
