"""The process that holds a lease, and, if it is of this machine, whether it still runs."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path
from typing import NamedTuple, Self

from pydantic import ConfigDict

from tasks.settings.base import Frozen

PROC = Path("/proc")


class Owner(Frozen):
    """A process, identified so that no later process with its number is mistaken for it."""

    model_config = ConfigDict(extra="ignore")

    pid: int
    host: str
    machine: str
    """Boot id and process namespace: processes see each other where both are equal. Empty where unknown."""
    started: str
    """Start time in the kernel's clock ticks: the kernel reuses process numbers."""

    @classmethod
    def this(cls) -> Self:
        """This process. A forked child is another one."""
        pid = os.getpid()
        status = _status_of(pid)
        machine = _machine() if status else ""
        return cls(pid=pid, host=socket.gethostname(), machine=machine, started=status.started if status else "")

    @property
    def gone(self) -> bool:
        """Whether the process is known to have ended; False where that is unknown."""
        status = self._status
        return status is not None and (status.started != self.started or status.state in "ZX")

    @property
    def runs(self) -> bool:
        """Whether the process is known to run, not stopped; False where that is unknown."""
        status = self._status
        return status is not None and status.started == self.started and status.state not in "ZXTt"

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def _status(self) -> ProcessStatus | None:
        return _status_of(self.pid) if self.machine and self.machine == _machine() else None


class ProcessStatus(NamedTuple):
    """What the kernel reports about a process."""

    started: str
    state: str
    """The kernel's letter; X where there is no such process."""


def _status_of(pid: int) -> ProcessStatus | None:
    """None where it is unknown: files cannot be opened, or the processes of others are hidden (`hidepid`)."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None if _hidden(pid) else ProcessStatus("", "X")
    except OSError:
        return None
    return ProcessStatus(fields[19], fields[0])


def _hidden(pid: int) -> bool:
    """Whether the process exists although /proc does not show it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@cache
def _machine() -> str:
    """Boot id and process namespace of this process; empty where unknown."""
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink(PROC / 'self/ns/pid')}"
    except OSError:
        return ""
