"""The process of a deployment's flow run: it has a name, and it ends within seconds when the run is taken from it.

A person may suspend, cancel or delete a run on the page, its worker may be stopped, and another process may start the
run again. The server then gives the run's slot to the next run, whatever this process still does. So a thread here
watches the run's state, and ends the process with all processes below it; partial results stay in the store.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from prefect import get_client, get_run_logger
from prefect.runtime import deployment, flow_run
from prefect.settings import PREFECT_API_URL

from flows.server.api import FINAL, Api, FlowRun, State
from flows.server.names import is_generated, waiting_name, with_schedule
from flows.server.queue import tidy_queue
from flows.server.settle import owner_labels
from tasks.execution.processes import kill_others_in_group, lead_process_group
from tasks.store.acquire import release_all

LOOK = 2.0
"""Seconds between two looks at the run's state."""
TIDY = 15.0
"""Seconds between two times that the running flow tidies the queue."""
RELEASE = 5.0
"""Most seconds for the release of leases before the process ends; the next owner else waits for silence."""


@contextmanager
def supervised() -> Iterator[None]:
    """Own the process group and watch the flow run for the time of the block. Does nothing outside a deployment.

    Stages that an earlier process of the run left as Running are marked as crashed. Temporary files lie in a folder of
    their own, which is removed when the process has ended, however it ends.
    """
    if deployment.id is None:
        yield
        return
    folder = tempfile.mkdtemp(prefix="active-zero-")
    tempfile.tempdir = os.environ["TMPDIR"] = folder
    lead_process_group(folder)
    api, run = Api(PREFECT_API_URL.value()), str(flow_run.id)
    if retried():
        for task in api.end_tasks(run, State(type="CRASHED", name="Crashed", message="its process was killed")):
            get_run_logger().info("%s is marked as crashed: its process was killed", task.name)
    api.add_labels(run, {**owner_labels()})
    watch = _Watch(api, run, flow_run.run_count or 1)
    watch.start()
    previous = signal.signal(signal.SIGTERM, watch.terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
        watch.ended.set()


def retried() -> bool:
    """Whether an earlier process has played the current flow run: after Retry, Resume, or a worker's end."""
    return (flow_run.run_count or 1) > 1


def give_name(name: str) -> None:
    """Name the current flow run, and its schedule; not where a person has named it."""
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(flow_run.id)
        by_schedule = run.created_by and run.created_by.type == "SCHEDULE"
        schedule = run.created_by.display_value if run.created_by and by_schedule else None
        if is_generated(run.name) or run.name == waiting_name(deployment.name or "", run.parameters, schedule):
            client.set_flow_run_name(run.id, with_schedule(name, schedule))


@dataclass(frozen=True)
class End:
    """How the process ends: the states that its stages and its run get, and what the log says."""

    reason: str
    tasks: State | None = None
    """None where the stages are not this process's to mark."""
    run: State | None = None
    """None where the run has its state already."""


class _Watch(threading.Thread):
    """Looks at the run's state every `LOOK` seconds, and at once when the process is asked to terminate."""

    def __init__(self, api: Api, run: str, run_count: int) -> None:
        super().__init__(name="watch", daemon=True)
        self._api, self._run, self._run_count = api, run, run_count
        self._log = get_run_logger()
        self._wake = threading.Event()
        self._terminated = False
        self._last = ""
        """What the last look has found, if it was a reason to end."""
        self._looks = 0
        self.ended = threading.Event()

    def terminate(self, number: int, frame: FrameType | None) -> None:
        """The handler of SIGTERM: the worker cancels the run, or stops."""
        self._terminated = True
        self._wake.set()

    def run(self) -> None:
        """The loop of the thread."""
        while not self.ended.is_set():
            self._wake.wait(LOOK)
            try:
                if end := self._look():
                    self._finish(end)
                if self._looks % int(TIDY / LOOK) == 0:
                    tidy_queue(self._api)
                self._looks += 1
            except OSError as error:  # the server may be restarted: the work goes on
                if self._terminated:
                    self._exit(f"the process was asked to terminate, and the server does not answer: {error}", 1)

    def _look(self) -> End | None:
        """How to end, if the run is no longer this process's. A final or paused state counts at the second look."""
        run = self._api.flow_run(self._run)
        end = end_of(run, self._run_count)
        if end is None and self._terminated:
            message = "its worker was stopped; Retry resumes the run"
            return End(message, _crashed("its worker was stopped"), _crashed(message))
        again, self._last = end is not None and end.reason == self._last, end.reason if end else ""
        at_once = self._terminated or run is None or run.state.type == "CANCELLING"
        return end if again or at_once else None

    def _finish(self, end: End) -> None:
        if end.tasks:
            self._api.end_tasks(self._run, end.tasks)
        if end.run:
            self._api.set_state(self._run, end.run)
        self._exit(end.reason, 0)

    def _exit(self, reason: str, code: int) -> None:
        """End this process. Code 0: the run's state is settled, so the worker need not report a crash."""
        self._log.warning("this process ends: %s", reason)
        releasing = threading.Thread(target=release_all, daemon=True)
        releasing.start()
        releasing.join(RELEASE)
        kill_others_in_group()
        os._exit(code)


def end_of(run: FlowRun | None, run_count: int) -> End | None:
    """How the run's process is to end; None where the run is still its own.

    `run` is what the server holds, None where it was deleted; `run_count` is the count of starts of the process's run.
    """
    if run is None:
        return End("the run was deleted")
    if run.run_count > run_count or run.state.type in ("SCHEDULED", "PENDING"):
        return End("the run was started again")  # the new process marks the stages
    if run.state.type == "CANCELLING":
        cancelled = State(type="CANCELLED", name="Cancelled", message="the run was cancelled")
        return End("the run was cancelled", cancelled, cancelled)
    if run.state.type == "PAUSED":
        suspended = State(type="CANCELLED", name="Suspended", message="the run was suspended; Resume goes on from here")
        return End("the run was suspended", suspended)
    if run.state.type in FINAL:
        reason = f"the run is {run.state.name} already"
        return End(reason, _crashed(reason))
    return None


def _crashed(message: str) -> State:
    return State(type="CRASHED", name="Crashed", message=message)
