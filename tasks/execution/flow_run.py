"""The process of a deployment's run: what it starts ends with it, and what an earlier one left is put right."""

from __future__ import annotations

from datetime import timedelta

from prefect import get_client, get_run_logger
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, TaskRunFilter
from prefect.client.schemas.objects import StateType
from prefect.flow_runs import suspend_flow_run
from prefect.runtime import deployment, flow_run
from prefect.states import Crashed

from tasks.execution.processes import lead_a_group
from tasks.settings.errors import UserError
from tasks.store import Place

PATIENCE = timedelta(days=14)
"""After which a run that nobody approved fails; what it has played stays."""


def take_charge() -> None:
    """Called first in a flow. Outside a deployment (a terminal, a test) nothing is done."""
    if deployment.id is None:
        return
    lead_a_group()
    if (flow_run.run_count or 1) > 1:
        _bury()


def await_approval(place: Place) -> None:
    """Suspend the run before the round's promotion; its process ends, and Resume plays on from here.

    UserError without a deployment, since nobody would start the run again.
    """
    if deployment.id is None:
        raise UserError("approve needs a deployment's run: start it from the page, or leave approve out.")
    suspend_flow_run(timeout=int(PATIENCE.total_seconds()), key=place.prefix)


def _bury() -> None:
    """Task runs of this flow run that are Running still were killed with an earlier process: Prefect never says so."""
    mine, running = {"any_": [flow_run.id]}, {"type": {"any_": [StateType.RUNNING]}, "name": None}
    with get_client(sync_client=True) as client:
        found = client.read_task_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId.model_validate(mine)),
            task_run_filter=TaskRunFilter.model_validate({"state": running}),
        )
        for one in found:
            client.set_task_run_state(one.id, Crashed(message="its process was ended"), force=True)
            get_run_logger().info("%s was left running by a process that was ended", one.name)
