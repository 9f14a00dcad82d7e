"""Settle what a bad night leaves behind: runs whose process is gone, and slots that nobody holds.

A run that was killed together with its worker cannot report its end. The server holds it to be running, its slot stays
taken, and every later run waits. `active-zero ui` settles such runs before its worker starts and every few seconds
afterwards; elsewhere `active-zero settle` does so before a worker starts.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import psutil

from flows.server.api import Api, FlowRun, Limit, State, StateType
from tasks.store.owner import Owner

HEARTBEAT = 30
"""Seconds between two heartbeats of a flow run, as set in `infra/prefect.yaml`."""
SILENCE = timedelta(seconds=4 * HEARTBEAT)
"""Without a heartbeat for so long, a run of another machine is held to be dead."""
SECOND_LOOK = 2.0
"""Seconds between two looks at a run: a worker starts a run's process shortly after the run's state has changed."""
OWNER = "active-zero."
"""Prefix of the labels that name a run's process."""
HOLDING: tuple[StateType, ...] = ("PENDING", "RUNNING", "CANCELLING")
"""States in which a run holds its deployment's slot."""


def settle(api: Api, local: bool = False) -> list[str]:
    """Give runs without a process their end state, free slots that no run holds; one line for each.

    `local`: all workers of the server run on this machine, so that its process table knows every run. Without it, a
    run is judged by the process that its labels name, and by its heartbeats.
    Pending becomes Scheduled, and the run starts again; Cancelling becomes Cancelled; Running and Paused (which is not
    Suspended) become Crashed, and Retry resumes them.
    """
    lines = [_settled(api, run) for run in _dead_twice(api, local)]
    return [*lines, *_freed_slots(api)]


def owner_labels() -> dict[str, str]:
    """The labels of this process's flow run."""
    return {f"{OWNER}{name}": str(value) for name, value in Owner.this().model_dump().items()}


def _dead_twice(api: Api, local: bool) -> list[FlowRun]:
    """The runs that are dead at two looks, in the same state."""
    first = {run.id: run.state.timestamp for run in _dead(api, local)}
    if not first:
        return []
    time.sleep(SECOND_LOOK)
    return [run for run in _dead(api, local) if first.get(run.id, ...) == run.state.timestamp]


def _dead(api: Api, local: bool) -> Iterator[FlowRun]:
    runs = [run for run in api.flow_runs((*HOLDING, "PAUSED")) if run.state.name != "Suspended"]
    living = _engines() if runs else set()
    for run in runs:
        if run.id not in living and (local or _ended(run) or _silent(api, run)):
            yield run


def is_engine(process: psutil.Process) -> bool:
    """Whether this is the living process of a flow run."""
    try:
        return "prefect.engine" in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:  # it has ended, or belongs to somebody else
        return False


def _engines() -> set[str]:
    """Ids of the flow runs that have a process on this machine."""
    found = set[str]()
    for process in filter(is_engine, psutil.process_iter()):
        with suppress(psutil.Error):  # it has ended
            found.add(process.environ().get("PREFECT__FLOW_RUN_ID", ""))
    return found


def _ended(run: FlowRun) -> bool:
    """Whether the process that the run's labels name is known to have ended: in this boot, or before it."""
    fields = {name: run.labels.get(f"{OWNER}{name}") for name in Owner.model_fields}
    if run.state.type == "PENDING" or None in fields.values():
        return False
    owner, this = Owner.model_validate(fields), Owner.this()
    return owner.gone or (owner.host == this.host and owner.machine != this.machine)


def _silent(api: Api, run: FlowRun) -> bool:
    since = datetime.now(UTC) - SILENCE
    changed = run.state.timestamp
    return changed is not None and changed < since and not api.last_heartbeat(run.id, since)


def _settled(api: Api, run: FlowRun) -> str:
    """Settle one run; the line about it."""
    end = _end_state(run.state)
    api.end_tasks(run.id, State(type="CRASHED", name="Crashed", message="its process is gone"))
    api.set_state(run.id, end)
    return f"{run.name}: {run.state.name} without a process, now {end.name}"


def _end_state(state: State) -> State:
    """The state that follows `state` where the run's process is gone."""
    if state.type == "PENDING":
        message = "its worker was gone before the run started; it starts again"
        return State(type="SCHEDULED", name="Scheduled", message=message)
    if state.type == "CANCELLING":
        return State(type="CANCELLED", name="Cancelled", message="cancelled; its process was gone")
    message = "its process is gone: killed, or its machine was off; Retry resumes the run"
    return State(type="CRASHED", name="Crashed", message=message)


class Slots(NamedTuple):
    """The slots of a deployment."""

    deployment: str
    limit: Limit
    held: int
    """Runs that hold a slot."""


def _freed_slots(api: Api) -> Iterator[str]:
    """Correct the slots that the server counts wrongly: where a run was deleted, or the server was killed."""
    first = _wrong_slots(api)
    if not first:
        return
    time.sleep(SECOND_LOOK)
    for slots in _wrong_slots(api):
        if slots in first:
            api.set_active_slots(slots.limit, slots.held)
            yield f"{slots.deployment}: {slots.limit.active_slots} slots taken by {slots.held} runs, corrected"


def _wrong_slots(api: Api) -> list[Slots]:
    holding = Counter(run.deployment_id for run in api.flow_runs(HOLDING))
    found = [
        Slots(item.name, item.global_concurrency_limit, holding[item.id])
        for item in api.deployments()
        if item.global_concurrency_limit
    ]
    return [slots for slots in found if slots.limit.active_slots != slots.held]
