"""Warnings of replicas and ranks, in the log of the process that uses them.

Each answer of a replica brings the records that were logged since its last answer, so they come once and in order, and
they reach whatever this process logs to: the console, its file, the page of a flow run. Ray's own way (`log_to_driver`)
prints every line of every process on standard output and error, its own lines among them. What a replica printed just
before it was killed stays in Ray's log folder on its machine.
"""

from __future__ import annotations

import logging
import socket
import sys
from collections import deque
from copy import copy
from dataclasses import dataclass
from typing import IO, Any

log = logging.getLogger(__name__)

KEPT = 1000
"""Records that wait for the next answer; of more, the latest."""


@dataclass(frozen=True)
class Reply:
    """What a replica's method returns, and what the replica has logged before."""

    value: Any
    records: list[logging.LogRecord]


class Outbox(logging.Handler):
    """Keeps the warnings and errors of this process, and what it prints on standard error, until they are sent."""

    def __init__(self, sender: str) -> None:
        """`sender`: what this process is to the one that it answers, such as `replica 2`."""
        super().__init__(logging.WARNING)
        self._kept: deque[logging.LogRecord] = deque(maxlen=KEPT)
        self._sender = f"{sender} on {socket.gethostname()}"

    def collect(self) -> None:
        """Collect from now on."""
        logging.getLogger().addHandler(self)
        logging.captureWarnings(True)
        sys.stderr = _Lines(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record with its text alone, the traceback included: arguments may not travel."""
        kept = copy(record)
        kept.msg, kept.args = f"{self._sender}: {self.format(record)}", None
        kept.exc_info = kept.exc_text = kept.stack_info = None
        self._kept.append(kept)

    def reply(self, value: Any) -> Reply:
        """A reply with the value and all records that wait."""
        return Reply(value, [self._kept.popleft() for _ in range(len(self._kept))])


class _Lines:
    """Standard error: each whole line is logged as a warning, except those that a progress bar writes over."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream, self._line = stream, ""

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if line.strip() and "\r" not in line:
                log.warning("%s", line)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def delivered(reply: Reply) -> Any:
    """A reply's value; its records are logged here."""
    for record in reply.records:
        logging.getLogger(record.name).handle(record)
    return reply.value


def log_notes_of_ray() -> None:
    """Log Ray's notes about its processes: a worker died, a node is short of memory.

    Ray prints them on standard output even where `log_to_driver` is False. It has no public setting for them.
    """
    from ray._private import worker

    worker.print_to_stdstream = _log_note


def _log_note(data: dict[str, Any], ignore_prefix: bool) -> None:
    for line in data["lines"]:
        log.warning("%s", line, stacklevel=2)  # the record's file is Ray's, so the console leaves it out
