"""Child processes that end with the process that needs them, however that process ends.

A process killed with SIGKILL cleans up nothing, so what it started has to notice. A child asks the kernel for a signal
at its parent's death, or a thread of the child waits for the death; a process group has a guard outside the group,
which kills what is left of it.
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
from contextlib import suppress
from multiprocessing.connection import wait

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36

GUARD = """
import os, shutil, signal, sys, time
leader, folder = int(sys.argv[1]), sys.argv[2]
while os.getppid() == leader:
    time.sleep(0.2)
try:
    os.killpg(leader, signal.SIGKILL)
except ProcessLookupError:
    pass
shutil.rmtree(folder, ignore_errors=True)
"""
"""Polls its parent's id. The end of a pipe would not do: a forked child of the leader keeps the pipe open."""

_guards: list[subprocess.Popen[bytes]] = []
"""The guard of this process's group: one element once this process leads a group."""


def exit_with_parent(parent: int, signal_number: int = signal.SIGKILL) -> None:
    """Let the kernel send this process the signal when the thread that started it ends. Does nothing outside Linux.

    `parent` is the id of the process that started it, which may have ended while Python was starting here.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal_number)


def exit_with_creator() -> None:
    """End this `multiprocessing` process at once, even amid its work, when the process that created it ends.

    Under `forkserver` the creator is not the parent: the fork server lives as long as any of its children.
    """
    creator = multiprocessing.parent_process()
    if creator is not None:
        threading.Thread(target=_end_after, args=(creator.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def lead_process_group(folder: str) -> None:
    """Make this process the leader of its own group, which ends with it: engine workers, and what libraries start.

    `folder` holds the group's temporary files, and is removed at the end. A terminal's Ctrl-C no longer reaches the
    group, so this is for processes that a Prefect worker supervises.
    """
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    if not _guards:
        arguments = [sys.executable, "-I", "-S", "-c", GUARD, str(os.getpid()), folder]
        _guards.append(subprocess.Popen(arguments, stdin=subprocess.DEVNULL, start_new_session=True))


def kill_others_in_group() -> None:
    """Kill all processes of this process's group except this one."""
    import psutil

    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if process.pid != os.getpid() and os.getpgid(process.pid) == os.getpgrp():
                process.kill()


def become_subreaper() -> None:
    """Descendants that lose their parent become children of this process, so that it finds them. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_others(own: Set[int]) -> None:
    """Reap ended children except `own`, which other code waits for."""
    while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if ended.si_pid in own:
            return
        os.waitpid(ended.si_pid, 0)


def child_command(command: list[str]) -> list[str]:
    """The command line that runs `command` and sends it SIGTERM when this process ends."""
    return [sys.executable, "-m", "tasks.execution.processes", str(os.getpid()), *command]


if __name__ == "__main__":
    exit_with_parent(int(sys.argv[1]), signal.SIGTERM)
    os.execvp(sys.argv[2], sys.argv[2:])
