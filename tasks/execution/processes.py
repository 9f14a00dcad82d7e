"""Processes that leave with the one that needs them, however that one ends.

A process that is killed with SIGKILL tidies nothing up. What it started has to notice: a child asks the kernel for a
signal at its parent's death, or a thread of it waits for that; and a process group has a guard outside it, which ends
what is left of the group.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Set
from multiprocessing.connection import wait

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36

GUARD = """
import os, signal, sys, time
leader = int(sys.argv[1])
while os.getppid() == leader:
    time.sleep(0.2)
try:
    os.killpg(leader, signal.SIGKILL)
except ProcessLookupError:
    pass
"""
"""Asks who its parent is: the end of a pipe does not come while a forked child of the leader holds it open too."""

_guards: list[subprocess.Popen[bytes]] = []
"""This process's one, once it leads a group."""


def leave_with_parent(parent: int, signal_number: int = signal.SIGKILL) -> None:
    """The kernel sends this process the signal when the thread that started it ends. Linux only; else nothing.

    `parent` is the process that started it: it may have ended while Python was starting here.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal_number)


def leave_with_creator() -> None:
    """End this process of `multiprocessing` at once when the one that asked for it ends, in the middle of its work.

    Under `forkserver` that is not the parent: the server lives as long as any of its children.
    """
    creator = multiprocessing.parent_process()
    if creator is not None:
        threading.Thread(target=_end_after, args=(creator.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def lead_a_group() -> None:
    """A process group of this process's own, which ends with it: engine workers, and whatever a library starts.

    A terminal's Ctrl-C does not come here any more, so this is for processes that somebody else looks after.
    """
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    if not _guards:
        arguments = [sys.executable, "-I", "-S", "-c", GUARD, str(os.getpid())]
        _guards.append(subprocess.Popen(arguments, stdin=subprocess.DEVNULL, start_new_session=True))


def adopt() -> None:
    """Processes below this one that lose their parent become its own children, so that it finds them. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_but(mine: Set[int]) -> None:
    """Let go of adopted processes that have ended; those that are waited for elsewhere are `mine`."""
    while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if ended.si_pid in mine:
            return
        os.waitpid(ended.si_pid, 0)


def bound(command: list[str]) -> list[str]:
    """The command line under which `command` gets SIGTERM when this process, which starts it, ends."""
    return [sys.executable, "-m", "tasks.execution.processes", str(os.getpid()), *command]


if __name__ == "__main__":
    leave_with_parent(int(sys.argv[1]), signal.SIGTERM)
    os.execvp(sys.argv[2], sys.argv[2:])
