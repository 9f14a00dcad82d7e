"""The requests to Prefect's API that the control room needs: flow runs of the work pool, their states and names.

Plain HTTP, because a command that only asks the server need not import Prefect, which takes seconds.
"""

from __future__ import annotations

import urllib.error
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, JsonValue
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_exponential

from flows.server.server import request_api

POOL = "active-zero"
"""Name of the work pool."""
PAGE = 200
"""Most records in one reply of the server."""

StateType = Literal[
    "SCHEDULED", "PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED", "CRASHED", "PAUSED", "CANCELLING"
]
FINAL: tuple[StateType, ...] = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")

M = TypeVar("M", bound=BaseModel)


class State(BaseModel):
    """The state of a flow run or task run."""

    type: StateType
    name: str
    message: str | None = None
    timestamp: AwareDatetime | None = None


class Creator(BaseModel):
    """Who created a flow run: a schedule, a person, another flow run."""

    type: str | None = None
    id: str | None = None
    display_value: str | None = None


class FlowRun(BaseModel):
    """A flow run of the server."""

    id: str
    name: str
    state: State
    run_count: int = 0
    deployment_id: str | None = None
    parameters: dict[str, JsonValue]
    labels: dict[str, JsonValue]
    created_by: Creator | None = None
    expected_start_time: AwareDatetime | None = None

    @property
    def schedule(self) -> str | None:
        """The id of the schedule that created the run."""
        return self.created_by.id if self.created_by and self.created_by.type == "SCHEDULE" else None


class TaskRun(BaseModel):
    """A task run: a stage."""

    id: str
    name: str


class Schedule(BaseModel):
    """A schedule of a deployment."""

    id: str
    active: bool
    parameters: dict[str, JsonValue] = {}


class Limit(BaseModel):
    """A concurrency limit, and how many of its slots are taken."""

    id: str
    limit: int
    active_slots: int


class Deployment(BaseModel):
    """A deployment of the work pool."""

    id: str
    name: str
    paused: bool
    schedules: list[Schedule]
    global_concurrency_limit: Limit | None = None


def _is_busy(error: BaseException) -> bool:
    """Whether the server answers that its database is locked for a moment."""
    return isinstance(error, urllib.error.HTTPError) and error.code in (429, 503)


@dataclass(frozen=True)
class Api:
    """A Prefect server's API at `url`. Each method raises OSError where the server does not answer.

    A server whose database is locked for a moment is asked again.
    """

    url: str

    def flow_run(self, id: str) -> FlowRun | None:
        """A flow run; None where it was deleted."""
        try:
            return FlowRun.model_validate(self._request(f"/flow_runs/{id}"))
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def flow_runs(self, types: Sequence[StateType]) -> list[FlowRun]:
        """The work pool's flow runs in states of these types, those due first."""
        of_pool = {"work_pools": {"name": {"any_": [POOL]}}, "flow_runs": {"state": {"type": {"any_": [*types]}}}}
        return self._all("/flow_runs/filter", {**of_pool, "sort": "EXPECTED_START_TIME_ASC"}, FlowRun)

    def deployments(self) -> list[Deployment]:
        """The work pool's deployments."""
        return self._all("/deployments/filter", {"work_pools": {"name": {"any_": [POOL]}}}, Deployment)

    def running_tasks(self, flow_run: str) -> list[TaskRun]:
        """The task runs of a flow run that the server holds to be running."""
        running = {"state": {"type": {"any_": ["RUNNING"]}}}
        query = {"flow_runs": {"id": {"any_": [flow_run]}}, "task_runs": running}
        return self._all("/task_runs/filter", query, TaskRun)

    def last_heartbeat(self, flow_run: str, since: datetime) -> bool:
        """Whether a flow run has sent a heartbeat since then."""
        query = {
            "event": {"name": ["prefect.flow-run.heartbeat"]},
            "resource": {"id": [f"prefect.flow-run.{flow_run}"]},
            "occurred": {"since": since.astimezone(UTC).isoformat()},
        }
        return bool(self._request("/events/filter", {"filter": query, "limit": 1})["events"])

    def set_state(self, flow_run: str, state: State) -> None:
        """Give a flow run a state, whatever its state is now. Its slot is freed where the new state holds none."""
        self._set_state(f"/flow_runs/{flow_run}", state)

    def end_tasks(self, flow_run: str, state: State) -> list[TaskRun]:
        """Give a flow run's running task runs a state; returns them."""
        tasks = self.running_tasks(flow_run)
        for task in tasks:
            self._set_state(f"/task_runs/{task.id}", state)
        return tasks

    def rename(self, flow_run: str, name: str) -> None:
        """Give a flow run another name."""
        self._request(f"/flow_runs/{flow_run}", {"name": name}, method="PATCH")

    def add_labels(self, flow_run: str, labels: dict[str, JsonValue]) -> None:
        """Add labels to a flow run."""
        self._request(f"/flow_runs/{flow_run}/labels", labels, method="PATCH")

    def switch_off(self, deployment: Deployment, schedule: Schedule, parameters: dict[str, JsonValue]) -> None:
        """Switch a schedule off and replace its parameters; the server removes its future runs."""
        path = f"/deployments/{deployment.id}/schedules/{schedule.id}"
        self._request(path, {"active": False, "parameters": parameters}, method="PATCH")

    def set_active_slots(self, limit: Limit, slots: int) -> None:
        """Correct how many slots of a limit are taken."""
        self._request(f"/v2/concurrency_limits/{limit.id}", {"active_slots": slots}, method="PATCH")

    @retry(
        retry=retry_if_exception(_is_busy), wait=wait_exponential(0.2, max=3), stop=stop_after_attempt(7), reraise=True
    )
    def _request(self, path: str, body: object = None, method: str | None = None) -> Any:
        try:
            return request_api(self.url, path, body, method=method)
        except (HTTPException, ValueError) as error:
            raise ConnectionError(f"{self.url}{path}: {error}") from None

    def _set_state(self, path: str, state: State) -> None:
        body = state.model_dump(include={"type", "name", "message"})
        self._request(f"{path}/set_state", {"state": body, "force": True})

    def _all(self, path: str, query: dict[str, object], record: type[M]) -> list[M]:
        found: list[M] = []
        while True:
            page = self._request(path, {**query, "limit": PAGE, "offset": len(found)})
            found += map(record.model_validate, page)
            if len(page) < PAGE:
                return found
