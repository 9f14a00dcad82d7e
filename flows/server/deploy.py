"""`active-zero deploy`: work pool, limit, deployments and automation on the server at PREFECT_API_URL.

Whatever is there already is brought up to date, but for what a person may have changed in the UI: the pool, the limit,
and schedules.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import yaml

from flows.server.server import configured, local_url, version_at
from tasks.execution.stage import GPU
from tasks.settings.errors import UserError
from tasks.settings.overlay import ROOT

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import DeploymentSchedule
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.events.schemas.automations import AutomationCore

FILE = ROOT / "infra" / "prefect.yaml"
POOL = "active-zero"
FLOWS = ("self-play", "corpus", "benchmark")
ZOMBIES = "active-zero: the process of a run is gone"
HEARTBEAT = 30
"""Seconds between two heartbeats of a flow run, as `infra/prefect.yaml` sets them."""


def deploy() -> str:
    """Register everything, and say in a line what and where. UserError without a server."""
    url = server_url()
    os.environ["PREFECT_API_URL"] = url
    schedules = asyncio.run(_before())
    _deployments()
    asyncio.run(_after(schedules))
    return f"registered at {url}: pool {POOL}, limit {GPU}, {', '.join(deployments())}, automation against zombies"


def server_url() -> str:
    """The API to register at: the configured one, or that of `make ui`. UserError where no server answers."""
    url = configured() or local_url()
    if version_at(url, timeout=5) is None:
        raise UserError(f"no Prefect server answers at {url}: start one with `make ui`, or set PREFECT_API_URL.")
    return url


def deployments() -> list[str]:
    """Names of what `infra/prefect.yaml` deploys."""
    return [one["name"] for one in yaml.safe_load(FILE.read_text())["deployments"]]


async def _before() -> dict[str, list[dict[str, Any]]]:
    """Make what deployments refer to. Gives the schedules that are there, by deployment: a person's, to be kept."""
    from prefect import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists

    async with get_client() as client:
        pool = WorkPoolCreate(name=POOL, type="process", description="Rounds, corpora and benchmarks of Active-Zero")
        with suppress(ObjectAlreadyExists):  # which a person may have changed: another type, more variables
            await client.create_work_pool(pool)
        if await _gpu_limit(client) is None:
            await client.upsert_global_concurrency_limit_by_name(GPU, limit=1)
        return {one.name: list(map(_kept, one.schedules)) for one in await _ours(client)}


def _kept(plan: DeploymentSchedule) -> dict[str, Any]:
    """A schedule as it is sent again: with a name, which the server asks for and those made on the page have not."""
    fields = plan.model_dump(include={"schedule", "active", "parameters", "max_scheduled_runs"})
    return {**fields, "slug": plan.slug or f"schedule-{str(plan.id)[:8]}"}


async def _ours(client: PrefectClient) -> list[DeploymentResponse]:
    names = deployments()
    return [one for one in await client.read_deployments() if one.work_pool_name == POOL and one.name in names]


async def _gpu_limit(client: PrefectClient) -> Any | None:
    from prefect.exceptions import ObjectNotFound

    try:
        return await client.read_global_concurrency_limit_by_name(GPU)
    except ObjectNotFound:
        return None


def _deployments() -> None:
    """What `prefect deploy` does, from the repository's root, where runs then start."""
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(FILE)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError("\n".join([*done.stdout.splitlines()[-20:], *done.stderr.splitlines()[-5:]]))


async def _after(schedules: Mapping[str, list[dict[str, Any]]]) -> None:
    """Forms that refuse unknown names, the schedules that were there before, and the automation."""
    from prefect import get_client
    from prefect.client.schemas.actions import DeploymentUpdate

    async with get_client() as client:
        for one in await _ours(client):
            known = {"schedules": schedules[one.name]} if one.name in schedules else {}
            form = {**(one.parameter_openapi_schema or {}), "additionalProperties": False}
            update = DeploymentUpdate.model_validate({"parameter_openapi_schema": form, **known})
            await client.update_deployment(one.id, update)
        for old in await client.read_automations_by_name(ZOMBIES):
            await client.delete_automation(old.id)
        await client.create_automation(zombie_automation())


def zombie_automation() -> AutomationCore:
    """A run of ours that sends no heartbeat any more, and has not said how it ended, is Crashed: Retry plays it on."""
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
    from prefect.events.schemas.events import ResourceSpecification

    heard = "prefect.flow-run.heartbeat"
    ends = ("Completed", "Failed", "Cancelled", "Crashed", "Suspended", "Paused", "Scheduled", "AwaitingRetry")
    named = {"prefect.resource.role": "flow", "prefect.resource.name": list(FLOWS)}
    return AutomationCore(
        name=ZOMBIES,
        description="Worker and run were killed together, or the machine is gone.",
        trigger=EventTrigger(
            after={heard},
            expect={heard, *(f"prefect.flow-run.{state}" for state in ends)},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=ResourceSpecification(named),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=4 * HEARTBEAT),
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=f"no heartbeat for {4 * HEARTBEAT} seconds")],
    )
