"""What a flow run of a deployment asks of the server: to be suspended for an approval, and its earlier task runs."""

from __future__ import annotations

from datetime import timedelta

from prefect import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, TaskRunFilter
from prefect.client.schemas.sorting import TaskRunSort
from prefect.flow_runs import suspend_flow_run
from prefect.runtime import deployment, flow_run

from tasks.settings.errors import UserError
from tasks.store import Place

PATIENCE = timedelta(days=14)
"""A run that is not approved for so long fails; its complete stages stay."""


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
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId.model_validate({"any_": [flow_run.id]})),
            task_run_filter=TaskRunFilter.model_validate({"name": {"like_": name}}),
            sort=TaskRunSort.EXPECTED_START_TIME_ASC,
            limit=1,
        )
    return found[0].name if found else None
