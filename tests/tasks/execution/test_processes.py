from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

LEADER = """
import subprocess, sys, tempfile, time
from tasks.execution.processes import lead_process_group
lead_process_group(tempfile.mkdtemp())
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""

FORKER = """
import os, tempfile, time
from tasks.execution.processes import lead_process_group
lead_process_group(tempfile.mkdtemp())
child = os.fork()
if child:
    print(child, flush=True)
time.sleep(600)
"""

HASTY = """
import os, subprocess, sys
from tasks.execution.processes import child_command
print(subprocess.Popen(child_command([sys.executable, "-c", "import time; time.sleep(600)"])).pid, flush=True)
os.kill(os.getpid(), 9)
"""

PARENT = """
import subprocess, sys, time
from tasks.execution.processes import child_command
child = subprocess.Popen(child_command([sys.executable, "-c", "print('up', flush=True); import time; time.sleep(600)"]))
print(child.pid, flush=True)
time.sleep(600)
"""


def started(program: str, lines: int) -> tuple[subprocess.Popen[str], int]:
    """A program in a process group of its own, and the id of the process that it started."""
    root = Path(__file__).parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, start_new_session=True, cwd=root
    )
    assert process.stdout is not None
    printed = [process.stdout.readline().strip() for _ in range(lines)]
    return process, int(next(line for line in printed if line.isdigit()))


def gone(pid: int, seconds: float = 10) -> bool:
    """Whether a process has ended, or does so within the seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


SUBREAPER = """
import os, subprocess, sys, time
from tasks.execution.processes import become_subreaper, reap_others
become_subreaper()
own = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
middle = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1)']).pid)"
subprocess.run([sys.executable, "-c", middle], check=True)
print("started", flush=True)
while True:
    time.sleep(0.05)
    reap_others({own.pid})
"""


def test_an_ended_descendant_is_reaped() -> None:
    subreaper, orphan = started(SUBREAPER, lines=2)
    assert psutil.Process(orphan).ppid() == subreaper.pid
    end = time.monotonic() + 10
    while psutil.pid_exists(orphan):
        assert time.monotonic() < end
        time.sleep(0.05)
    (own,) = psutil.Process(subreaper.pid).children()
    for process in (own, subreaper):
        process.kill()


def test_a_group_ends_with_its_killed_leader() -> None:
    leader, child = started(LEADER, lines=1)
    assert os.getpgid(child) == leader.pid
    leader.kill()
    assert gone(child)


def test_a_child_command_ends_with_its_parent() -> None:
    parent, child = started(PARENT, lines=2)
    assert not gone(child, 0.2)
    parent.kill()
    assert gone(child)


def test_the_temporary_files_of_a_killed_leader_are_removed(tmp_path: Path) -> None:
    (tmp_path / "workspace").mkdir()
    leader, _ = started(LEADER.replace("tempfile.mkdtemp()", repr(str(tmp_path / "workspace"))), lines=1)
    leader.kill()
    leader.wait()
    deadline = time.monotonic() + 10
    while (tmp_path / "workspace").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not (tmp_path / "workspace").exists()


def test_a_group_with_a_forked_child_ends_with_its_leader() -> None:
    leader, child = started(FORKER, lines=1)
    assert os.getpgid(child) == leader.pid
    leader.kill()
    assert gone(child)


def test_a_child_command_notices_that_its_parent_ended_early() -> None:
    parent, child = started(HASTY, lines=1)
    parent.wait()
    assert gone(child)


def test_an_engine_worker_at_work_ends_with_the_engine(tmp_path: Path) -> None:
    """Engine workers are children of a fork server; neither may outlive the engine."""
    program = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from multiprocessing import get_context
from tests.tasks.execution.test_processes import busy

if __name__ == "__main__":
    worker = get_context("forkserver").Process(target=busy, daemon=True)
    worker.start()
    print(worker.pid, flush=True)
    time.sleep(600)
"""
    script = tmp_path / "engine.py"
    script.write_text(program)
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    time.sleep(1)  # the worker is in its loop by now, and reads no pipe
    os.kill(process.pid, signal.SIGKILL)
    assert gone(worker)


def busy() -> None:
    """The first call of an engine worker, and then work without end."""
    from tasks.execution.processes import exit_with_creator

    exit_with_creator()
    while True:
        pass
