"""Which process holds a lease, and, where it is on this machine, what has become of it."""

from __future__ import annotations

import os
import socket
from functools import lru_cache
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

PROC = Path("/proc")


class Owner(BaseModel):
    """A process, named so that no later process is taken for it."""

    model_config = ConfigDict(frozen=True)

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
        started, _ = _seen(pid)
        return cls(pid=pid, host=socket.gethostname(), machine=_machine(), started=started)

    @property
    def gone(self) -> bool:
        """Known to have ended. False where nothing is known."""
        return self._visible and (_seen(self.pid)[0] != self.started or _seen(self.pid)[1] in "ZX")

    @property
    def runs(self) -> bool:
        """Known to run, and not stopped. False where nothing is known."""
        return self._visible and _seen(self.pid)[0] == self.started and _seen(self.pid)[1] not in "ZXTt"

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def _visible(self) -> bool:
        return bool(self.machine) and self.machine == _machine()


def _seen(pid: int) -> tuple[str, str]:
    """When a process started, and its state's letter; ("", "X") for one that is not there."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", "X"
    return fields[19], fields[0]


@lru_cache(maxsize=1)
def _machine() -> str:
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink(PROC / 'self/ns/pid')}"
    except OSError:
        return ""
