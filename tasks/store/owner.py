"""Which process holds a lease, and, where it is on this machine, what has become of it."""

from __future__ import annotations

import os
import socket
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Self

from pydantic import ConfigDict

from tasks.settings.base import Frozen

PROC = Path("/proc")


class Owner(Frozen):
    """A process, named so that no later process is taken for it."""

    model_config = ConfigDict(extra="ignore")

    pid: int
    host: str
    machine: str
    """Boot and process namespace: processes can see one another where it is the same. Empty where that is unknown."""
    started: str
    """When the process started, in the kernel's ticks; a number is given to other processes later."""

    @classmethod
    def this(cls) -> Self:
        """The running process. A forked child is another one."""
        pid = os.getpid()
        seen = _seen(pid)
        machine = _machine() if seen else ""
        return cls(pid=pid, host=socket.gethostname(), machine=machine, started=seen.started if seen else "")

    @property
    def gone(self) -> bool:
        """Known to have ended. False where nothing is known."""
        seen = self._seen
        return seen is not None and (seen.started != self.started or seen.state in "ZX")

    @property
    def runs(self) -> bool:
        """Known to run, and not stopped. False where nothing is known."""
        seen = self._seen
        return seen is not None and seen.started == self.started and seen.state not in "ZXTt"

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def _seen(self) -> Seen | None:
        return _seen(self.pid) if self.machine and self.machine == _machine() else None


class Seen(NamedTuple):
    """What the kernel tells of a process."""

    started: str
    state: str
    """Its letter; X where there is no such process."""


def _seen(pid: int) -> Seen | None:
    """None where nothing is known: files cannot be opened, or others' processes are hidden (`hidepid`)."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None if _hidden(pid) else Seen("", "X")
    except OSError:
        return None
    return Seen(fields[19], fields[0])


def _hidden(pid: int) -> bool:
    """Whether there is such a process all the same."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@lru_cache(maxsize=1)
def _machine() -> str:
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink(PROC / 'self/ns/pid')}"
    except OSError:
        return ""
