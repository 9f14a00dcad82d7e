"""`active-zero deploy`: work pool, limit, deployments and automation at the server of PREFECT_API_URL.

Updates what is registered already, except what a person may have changed in the UI: the pool, the limit, and schedules.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import yaml

from flows.server.api import POOL
from flows.server.forms import form
from flows.server.server import configured_url, local_url, version_at
from flows.server.settle import SILENCE
from tasks.execution.gpu_slots import limit_name
from tasks.settings.errors import UserError
from tasks.settings.overlay import ROOT

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import DeploymentSchedule
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.events.schemas.automations import AutomationCore

FILE = ROOT / "infra" / "prefect.yaml"
FLOWS = ("self-play", "corpus", "benchmark")
"""Names of the deployed flows."""
OTHER_FLOWS = ("corpus-build", "corpus-add", "evaluate")
"""Names of the flows that the command line or a deployed flow runs."""
AUTOMATION = "active-zero: the process of a run is gone"


def register(gpus: int | None = None) -> str:
    """Register everything and return one line that lists it. UserError if no server answers.

    `gpus` is the number of slots of the limit; None keeps it, or makes one slot.
    """
    limit = limit_name()
    url = server_url()
    os.environ["PREFECT_API_URL"] = url
    schedules = asyncio.run(_before_deploy(gpus))
    _deploy_all()
    asyncio.run(_after_deploy(schedules))
    names = ", ".join(deployment_names())
    return f"registered at {url}: pool {POOL}, limit {limit}, {names}, automation for crashed runs"


def server_url() -> str:
    """The configured API, or that of `make ui`. UserError if no server answers there."""
    url = configured_url() or local_url()
    if version_at(url, timeout=5) is None:
        raise UserError(f"no Prefect server answers at {url}: start one with `make ui`, or set PREFECT_API_URL.")
    return url


def deployment_names() -> list[str]:
    """Names of the deployments in `infra/prefect.yaml`."""
    return [deployment["name"] for deployment in yaml.safe_load(FILE.read_text())["deployments"]]


async def _before_deploy(gpus: int | None) -> dict[str, list[dict[str, Any]]]:
    """Create the work pool and the limit; return the server's schedules by deployment, so that they can be kept."""
    from prefect import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists

    async with get_client() as client:
        pool = WorkPoolCreate(name=POOL, type="process", description="Rounds, corpora and benchmarks of Active-Zero")
        with suppress(ObjectAlreadyExists):  # a person may have changed its type or variables
            await client.create_work_pool(pool)
        await _register_limit(client, gpus)
        registered = await _registered(client)
        return {deployment.name: list(map(_schedule_fields, deployment.schedules)) for deployment in registered}


def _schedule_fields(schedule: DeploymentSchedule) -> dict[str, Any]:
    """A schedule as an update sends it. The server wants a slug, which schedules made in the UI lack."""
    fields = schedule.model_dump(include={"schedule", "active", "parameters", "max_scheduled_runs"})
    return {**fields, "slug": schedule.slug or f"schedule-{str(schedule.id)[:8]}"}


async def _registered(client: PrefectClient) -> list[DeploymentResponse]:
    """This project's deployments on the server."""
    names = deployment_names()
    found = await client.read_deployments()
    return [deployment for deployment in found if deployment.work_pool_name == POOL and deployment.name in names]


async def _register_limit(client: PrefectClient, gpus: int | None) -> None:
    """Create the limit, with one slot where `gpus` is None. A limit that exists changes only if `gpus` is given."""
    from prefect.exceptions import ObjectNotFound

    if gpus is None:
        try:
            await client.read_global_concurrency_limit_by_name(limit_name())
            return
        except ObjectNotFound:
            gpus = 1
    await client.upsert_global_concurrency_limit_by_name(limit_name(), limit=gpus)


def _deploy_all() -> None:
    """Run `prefect deploy` in the repository's root, where runs start. RuntimeError with its output if it fails."""
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(FILE)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError("\n".join([*done.stdout.splitlines()[-20:], *done.stderr.splitlines()[-5:]]))


async def _after_deploy(schedules: Mapping[str, list[dict[str, Any]]]) -> None:
    """Give each form its rules, restore the earlier schedules, and register the automation."""
    from prefect import get_client
    from prefect.client.schemas.actions import DeploymentUpdate

    async with get_client() as client:
        for deployment in await _registered(client):
            kept = {"schedules": schedules[deployment.name]} if deployment.name in schedules else {}
            schema = form(dict(deployment.parameter_openapi_schema or {}))
            update = DeploymentUpdate.model_validate({"parameter_openapi_schema": schema, **kept})
            await client.update_deployment(deployment.id, update)
        await _register_automation(client)


async def _register_automation(client: PrefectClient) -> None:
    """Create the automation, or update one that differs. An equal one stays: it has seen the heartbeats of runs."""
    wanted, found = crash_automation(), await client.read_automations_by_name(AUTOMATION)
    for surplus in found[1:]:
        await client.delete_automation(surplus.id)
    if not found:
        await client.create_automation(wanted)
    elif _content(found[0]) != _content(wanted):
        await client.update_automation(found[0].id, wanted.model_copy(update={"enabled": found[0].enabled}))


def _content(automation: AutomationCore) -> Any:
    """What an automation does. A person may have switched it off."""
    return automation.model_dump(mode="python", include={"description", "trigger", "actions"})


def crash_automation() -> AutomationCore:
    """Mark a flow run Crashed if its heartbeats stop before it reports an end state; Retry then resumes it."""
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
    from prefect.events.schemas.events import ResourceSpecification

    heartbeat = "prefect.flow-run.heartbeat"
    ends = ("Completed", "Failed", "Cancelled", "Crashed", "Suspended", "Paused", "Scheduled", "AwaitingRetry")
    of_our_flows = {"prefect.resource.role": "flow", "prefect.resource.name": [*FLOWS, *OTHER_FLOWS]}
    return AutomationCore(
        name=AUTOMATION,
        description="Worker and run were killed together, or the machine is gone.",
        trigger=EventTrigger(
            after={heartbeat},
            expect={heartbeat, *(f"prefect.flow-run.{state}" for state in ends)},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=ResourceSpecification(of_our_flows),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENCE,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED, message=f"no heartbeat for {SILENCE.seconds} seconds; Retry resumes the run"
            )
        ],
    )
