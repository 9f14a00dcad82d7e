"""The process of a deployment's flow run: its child processes end with it, and it can wait for an approval."""

from __future__ import annotations

from datetime import timedelta

from prefect import get_client, get_run_logger
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, TaskRunFilter
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import TaskRunSort
from prefect.flow_runs import suspend_flow_run
from prefect.runtime import deployment, flow_run
from prefect.states import Crashed

from tasks.execution.processes import lead_process_group
from tasks.settings.errors import UserError
from tasks.store import Place

PATIENCE = timedelta(days=14)
"""A run that is not approved for so long fails; its complete stages stay."""


def own_process_group() -> None:
    """Own the process group, and mark task runs that an earlier process left running as crashed.

    Called first in a flow. Outside a deployment (a terminal, a test) it does nothing.
    """
    if deployment.id is None:
        return
    lead_process_group()
    if (flow_run.run_count or 1) > 1:
        _mark_crashed()


def await_approval(place: Place) -> None:
    """Suspend the run before the round's promotion. Its process ends; Resume starts a new one, which resumes here.

    UserError outside a deployment, where nothing would start the run again.
    """
    if deployment.id is None:
        raise UserError("approve needs a run of a deployment: start the run on the Prefect page, or leave approve out.")
    suspend_flow_run(timeout=int(PATIENCE.total_seconds()), key=place.prefix)


def first_task_run(name: str) -> str | None:
    """The full name of this flow run's first task run whose name contains `name`; None before its first retry.

    A retried flow run has the task runs of its earlier processes.
    """
    if (flow_run.run_count or 1) == 1:
        return None
    with get_client(sync_client=True) as client:
        found = client.read_task_runs(
            flow_run_filter=_this_flow_run(),
            task_run_filter=TaskRunFilter.model_validate({"name": {"like_": name}}),
            sort=TaskRunSort.EXPECTED_START_TIME_ASC,
            limit=1,
        )
    return found[0].name if found else None


def _mark_crashed() -> None:
    """Mark this flow run's Running task runs as crashed: they were killed, which Prefect does not notice."""
    running = {"type": {"any_": [StateType.RUNNING]}, "name": None}
    with get_client(sync_client=True) as client:
        left_running = client.read_task_runs(
            flow_run_filter=_this_flow_run(),
            task_run_filter=TaskRunFilter.model_validate({"state": running}),
        )
        for task_run in left_running:
            client.set_task_run_state(task_run.id, Crashed(message="its process was killed"), force=True)
            get_run_logger().info("%s is marked as crashed: its process was killed", task_run.name)


def _this_flow_run() -> FlowRunFilter:
    return FlowRunFilter(id=FlowRunFilterId.model_validate({"any_": [flow_run.id]}))
