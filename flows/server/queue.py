"""Keep the queue of waiting runs short and readable: one waiting run a schedule, and names that say what a run will do.

Prefect schedules runs ahead, and a run that is due waits while another holds its deployment's slot. After a long round,
or a machine that was off, one run for each missed time would wait. One of them catches up for all; a schedule that was
switched off has none. The running flow and `active-zero ui` call this every few seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from pydantic import JsonValue

from flows.server.api import Api, Deployment, FlowRun, State
from flows.server.names import is_generated, waiting_name
from tasks.settings.addresses import SECRET


def tidy_queue(api: Api) -> list[str]:
    """Name the waiting runs, and cancel those that add nothing; one line for each cancelled run or masked schedule."""
    deployments = {deployment.id: deployment for deployment in api.deployments()}
    without_secrets = list(_without_secrets(api, deployments.values()))
    scheduled = api.flow_runs(("SCHEDULED",))
    _name(api, scheduled, deployments)
    active = {schedule.id for item in deployments.values() for schedule in item.schedules if schedule.active}
    return [*without_secrets, *(_cancelled(api, run, reason) for run, reason in _superfluous(scheduled, active))]


def _without_secrets(api: Api, deployments: Iterable[Deployment]) -> Iterator[str]:
    """Switch off each schedule whose parameters hold a secret, and mask it: the server checks them in no schedule."""
    for deployment in deployments:
        for schedule in deployment.schedules:
            masked = {name: _masked(value) for name, value in schedule.parameters.items()}
            if masked != schedule.parameters:
                api.switch_off(deployment, schedule, masked)
                yield f"a schedule of {deployment.name} held a password, token or signature: masked, and switched off"


def _masked(value: JsonValue) -> JsonValue:
    if isinstance(value, list):
        return [_masked(item) for item in value]
    return "***" if isinstance(value, str) and re.search(SECRET, value) else value


def _superfluous(scheduled: list[FlowRun], active: set[str]) -> Iterator[tuple[FlowRun, str]]:
    """The due runs that are not to start, with the reason. The run that was due first is kept."""
    waiting = dict[str, FlowRun]()
    for run in scheduled:
        if run.schedule is None or run.expected_start_time is None or run.expected_start_time > datetime.now(UTC):
            continue
        if run.schedule not in active:
            yield run, "its schedule is switched off"
        elif first := waiting.get(run.schedule):
            yield run, f"{first.name} of this schedule waits already"
        else:
            waiting[run.schedule] = run


def _cancelled(api: Api, run: FlowRun, reason: str) -> str:
    api.set_state(run.id, State(type="CANCELLED", name="Skipped", message=f"skipped: {reason}"))
    return f"{run.name}: skipped, {reason}"


def _name(api: Api, scheduled: list[FlowRun], deployments: dict[str, Deployment]) -> None:
    """Replace the server's random names."""
    for run in scheduled:
        deployment = deployments.get(run.deployment_id or "")
        if deployment and is_generated(run.name):
            creator = run.created_by.display_value if run.schedule and run.created_by else None
            run.name = waiting_name(deployment.name, run.parameters, creator)
            api.rename(run.id, run.name)
