"""Runs without a process, slots that nobody holds, and the queue, on a real Prefect server without a worker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flows.server import settle as module
from flows.server.api import POOL, Api, Creator, Deployment, FlowRun, Schedule, State
from flows.server.queue import tidy_queue
from flows.server.server import free_port, local_url, request_api, temporary_server
from flows.server.settle import OWNER, owner_labels, settle


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server with its own database, the work pool, and a deployment of one slot."""
    url = local_url(free_port())
    with pytest.MonkeyPatch.context() as monkey, ExitStack() as stack:
        monkey.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
        wait_until_ready = stack.enter_context(temporary_server(url))
        wait_until_ready()
        request_api(url, "/work_pools/", {"name": POOL, "type": "process"})
        flow = request_api(url, "/flows/", {"name": "self-play"})
        body = {"name": "iterate", "flow_id": flow["id"], "work_pool_name": POOL, "concurrency_limit": 1}
        request_api(url, "/deployments/", body)
        yield Api(url)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECOND_LOOK", 0.0)


@pytest.fixture
def run(api: Api) -> Iterator[str]:
    """A run that holds the slot; removed again."""
    (deployment,) = api.deployments()
    made = request_api(api.url, f"/deployments/{deployment.id}/create_flow_run", {})["id"]
    request_api(api.url, f"/flow_runs/{made}/set_state", {"state": {"type": "PENDING"}})
    yield made
    request_api(api.url, f"/flow_runs/{made}", method="DELETE")
    settle(api, local=True)


def state(api: Api, run: str) -> str:
    found = api.flow_run(run)
    assert found is not None
    return found.state.name


def slots(api: Api) -> int:
    (deployment,) = api.deployments()
    assert deployment.global_concurrency_limit
    return deployment.global_concurrency_limit.active_slots


@pytest.mark.parametrize(
    ("before", "after"), [("RUNNING", "Crashed"), ("CANCELLING", "Cancelled"), ("PENDING", "Scheduled")]
)
def test_a_run_without_a_process_is_settled_and_frees_its_slot(api: Api, run: str, before: Any, after: str) -> None:
    if before != "PENDING":
        api.set_state(run, State(type=before, name=before.capitalize()))
    assert slots(api) == 1
    (line,) = settle(api, local=True)
    assert line.endswith(f": {before.capitalize()} without a process, now {after}")
    assert (state(api, run), slots(api)) == (after, 0)


def test_a_suspended_run_waits(api: Api, run: str) -> None:
    api.set_state(run, State(type="PAUSED", name="Suspended"))
    assert settle(api, local=True) == []
    assert state(api, run) == "Suspended"


def test_a_run_of_another_machine_is_left_alone_while_it_may_live(api: Api, run: str) -> None:
    api.set_state(run, State(type="RUNNING", name="Running"))
    assert settle(api) == []
    api.add_labels(run, {**owner_labels(), f"{OWNER}host": "elsewhere", f"{OWNER}machine": "other"})
    assert settle(api) == []


def test_a_run_whose_process_has_ended_is_settled_at_once(api: Api, run: str) -> None:
    api.set_state(run, State(type="RUNNING", name="Running"))
    api.add_labels(run, {**owner_labels()})
    assert settle(api) == []  # this process runs
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    api.add_labels(run, {f"{OWNER}pid": str(child)})
    assert len(settle(api)) == 1
    assert state(api, run) == "Crashed"


def test_a_slot_that_no_run_holds_is_freed(api: Api) -> None:
    (deployment,) = api.deployments()
    assert deployment.global_concurrency_limit
    api.set_active_slots(deployment.global_concurrency_limit, 1)
    assert settle(api, local=True) == ["iterate: 1 slots taken by 0 runs, corrected"]
    assert slots(api) == 0


def test_a_schedule_with_a_secret_is_masked_and_switched_off(api: Api) -> None:
    (deployment,) = api.deployments()
    cron = {"schedule": {"cron": "0 2 * * *"}, "active": True}
    values = {"config": "tiny.yaml", "overrides": ["corpus.source.shards=s3://key:hunter2@bucket/x"]}
    path = f"/deployments/{deployment.id}/schedules"
    request_api(api.url, path, [{**cron, "parameters": values}])
    (line,) = tidy_queue(api)
    assert line == "a schedule of iterate held a password, token or signature: masked, and switched off"
    (schedule,) = request_api(api.url, path)
    assert (schedule["active"], schedule["parameters"]) == (False, {"config": "tiny.yaml", "overrides": ["***"]})
    assert tidy_queue(api) == []
    request_api(api.url, f"{path}/{schedule['id']}", method="DELETE")


@dataclass(frozen=True)
class RecordedApi(Api):
    """Runs and schedules of a test, and what is done to them."""

    url: str = ""
    runs: tuple[FlowRun, ...] = ()
    active: bool = True
    done: dict[str, str] = field(default_factory=dict)

    def flow_runs(self, types: Any) -> list[FlowRun]:
        return list(self.runs)

    def deployments(self) -> list[Deployment]:
        schedules = [Schedule(id="s", active=self.active)]
        return [Deployment(id="d", name="iterate", paused=False, schedules=schedules)]

    def set_state(self, flow_run: str, state: State) -> None:
        self.done[flow_run] = state.message or ""

    def rename(self, flow_run: str, name: str) -> None:
        self.done[flow_run] = name


def scheduled(id: str, minutes: float, name: str, schedule: str | None = "s") -> FlowRun:
    """A run that was due so many minutes ago."""
    creator = Creator(type="SCHEDULE", id=schedule, display_value="nightly") if schedule else None
    return FlowRun(
        id=id, name=name, state=State(type="SCHEDULED", name="Late"), deployment_id="d", labels={}, created_by=creator,
        parameters={"run": "mine", "rounds": 3}, expected_start_time=datetime.now(UTC) - timedelta(minutes=minutes),
    )  # fmt: skip


def test_of_missed_times_the_first_catches_up_for_all() -> None:
    runs = (scheduled("a", 3, "first"), scheduled("b", 2, "second"), scheduled("c", 1, "by hand", None))
    api = RecordedApi(runs=(*runs, scheduled("d", -5, "ahead")))
    assert tidy_queue(api) == ["second: skipped, first of this schedule waits already"]
    assert set(api.done) == {"b"}


def test_no_run_of_a_schedule_that_is_off_waits() -> None:
    api = RecordedApi(runs=(scheduled("a", 3, "first"), scheduled("c", 1, "by hand", None)), active=False)
    tidy_queue(api)
    assert api.done == {"a": "skipped: its schedule is switched off"}


def test_waiting_runs_have_names_that_say_what_they_will_do() -> None:
    runs = (scheduled("a", -1, "bald-monkey"), scheduled("b", 1, "bald-monkey", None), scheduled("c", 1, "Mine!", None))
    api = RecordedApi(runs=runs)
    tidy_queue(api)
    assert api.done == {"a": "mine, 3 rounds, nightly", "b": "mine, 3 rounds"}
