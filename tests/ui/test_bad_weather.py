"""What goes wrong in a night, and `ui` started again on the same database: nothing is wedged, nothing is lost.

After each deed the next run of the schedule starts within 90 s, no slot is held by the dead, no process is left, and no
complete stage is played again.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.round import FOLDERS
from flows.server.api import POOL
from flows.server.deploy import AUTOMATION
from flows.server.server import end_process, free_port, start_process
from tests.fixtures.stages import FOLDER
from tests.fixtures.tiny_round import write_tiny_config
from tests.ui.conftest import SLOW, LiveServer, environment_in, kill_tree, start_ui, stop_ui, until

pytestmark = [pytest.mark.ui, pytest.mark.timeout(1200)]

NEXT = 90.0
"""Seconds until the next scheduled run must have started."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, LiveServer]]:
    """The running `ui` under the key `now`; a test that ends it puts the next one there."""
    folder = tmp_path_factory.mktemp("night")
    running = {"now": start_ui(free_port(), write_tiny_config(folder), environment_in(folder))}
    yield running
    stop_ui(running["now"])


def repeating(live: LiveServer, seconds: int = 60) -> str:
    """A new schedule; its id."""
    parameters = {"run": "scheduled", "config": str(live.config)}
    body = {"schedule": {"interval": seconds, "anchor_date": "2026-01-01T00:00:00Z"}, "active": True}
    deployment = live.deployment()["id"]
    (made,) = live.call(
        "POST", f"/deployments/{deployment}/schedules", [{**body, "parameters": parameters, "slug": "often"}]
    )
    return str(made["id"])


def switch_off(live: LiveServer, schedule: str) -> None:
    deployment = live.deployment()["id"]
    live.call("PATCH", f"/deployments/{deployment}/schedules/{schedule}", {"active": False})


def remove(live: LiveServer, schedule: str) -> None:
    live.call("DELETE", f"/deployments/{live.deployment()['id']}/schedules/{schedule}")


def playing(live: LiveServer) -> list[dict[str, Any]]:
    return [run for run in live.runs() if run["state"]["type"] == "RUNNING"]


def until_stage(live: LiveServer, run: str, stage: str, state: str, number: int = 1) -> None:
    until(
        lambda: (f"round-{number:03d}/{FOLDER[stage]}", state) in live.stages(run), SLOW, lambda: str(live.stages(run))
    )


def settled_and_next_starts(live: LiveServer) -> None:
    """The claims of this file, after a deed: by a run of a new schedule, which is then ended."""
    schedule = repeating(live)
    try:
        until(lambda: any(run["auto_scheduled"] for run in playing(live)), NEXT, lambda: str(live.runs()))
        until(lambda: _has_its_name(live), 30, lambda: str(playing(live)))  # a moment after it is Running
        (run,) = playing(live)
        assert live.deployment()["global_concurrency_limit"]["active_slots"] == 1
        until(lambda: len(live.engines()) == 1, 30, lambda: str(live.engines()))
    finally:
        switch_off(live, schedule)
        remove(live, schedule)
    live.set_state(run["id"], "CANCELLING")
    assert live.wait(run["id"])["type"] == "CANCELLED"
    until(lambda: not live.engines(), 30)
    until(lambda: not waiting(live), 60, lambda: str(waiting(live)))
    assert live.deployment()["global_concurrency_limit"]["active_slots"] == 0


def _has_its_name(live: LiveServer) -> bool:
    return [re.fullmatch(r"scheduled, round \d+, often", run["name"]) is not None for run in playing(live)] == [True]


def waiting(live: LiveServer) -> list[str]:
    """Names of the runs that are due and have not started."""
    now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    return [
        run["name"] for run in live.runs() if run["state"]["type"] == "SCHEDULED" and run["expected_start_time"] < now
    ]


def reused(live: LiveServer, run: str, number: int = 1) -> list[str]:
    """The stages of a round that a run has found complete."""
    prefix = f"round-{number:03d}/"
    return [
        name.removeprefix(prefix) for name, state in live.stages(run) if name.startswith(prefix) and state == "Reused"
    ]


def test_ctrl_c_during_a_round_leaves_no_run_running(home: dict[str, LiveServer]) -> None:
    live = home["now"]
    run = live.start(run="interrupted")
    until_stage(live, run, "probe", "Completed")
    below = live.descendants()
    stop_ui(live)
    assert not [process for process in below if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    live = home["now"] = live.again()
    assert live.state(run)["type"] == "CRASHED"
    assert live.state(run)["message"] == "its worker was stopped; Retry resumes the run"
    settled_and_next_starts(live)
    live.retry(run)
    until(lambda: live.state(run)["type"] in ("PENDING", "RUNNING"))
    assert live.wait(run)["type"] == "COMPLETED"
    assert FOLDER["probe"] in reused(live, run)


def test_a_killed_machine_is_settled_at_the_next_start(home: dict[str, LiveServer]) -> None:
    live = home["now"]
    (automation,) = live.call("POST", "/automations/filter", {})
    run = live.start(run="powerless", rounds=2, overrides=["patience=9"])
    until_stage(live, run, "probe", "Completed")
    queued = live.start(run="queued")
    until_stage(live, run, "probe", "Completed", number=2)
    assert waiting(live) == ["queued, 1 round"]
    kill_tree(psutil.Process(live.process.pid))
    live = home["now"] = live.again()
    assert "powerless, rounds 1 to 2: Running without a process, now Crashed\n" in live.printed
    assert live.state(run)["type"] == "CRASHED"
    until(lambda: live.state(queued)["type"] == "RUNNING", NEXT, lambda: str(live.state(queued)))
    (kept,) = live.call("POST", "/automations/filter", {})
    assert (kept["name"], kept["id"]) == (AUTOMATION, automation["id"])
    live.set_state(queued, "CANCELLING")
    assert live.wait(queued)["type"] == "CANCELLED"
    settled_and_next_starts(live)
    live.retry(run)
    until(lambda: live.state(run)["type"] in ("PENDING", "RUNNING"))
    state = live.wait(run)
    assert state["type"] == "COMPLETED"
    assert state["message"].startswith("2 of 2 rounds of powerless played")
    assert f"round-003/{FOLDER['probe']}" not in dict(live.stages(run))  # the count is the run's, not the process's


def test_a_cancelled_run_of_a_killed_machine_is_cancelled(home: dict[str, LiveServer]) -> None:
    live = home["now"]
    run = live.start(run="cancelling")
    until_stage(live, run, "probe", "Running")
    for process in [psutil.Process(live.process.pid), *live.engines()]:
        process.suspend()  # so that none of them acts on the state
    live.set_state(run, "CANCELLING")
    kill_tree(psutil.Process(live.process.pid))
    live = home["now"] = live.again()
    assert live.wait(run, seconds=30)["type"] == "CANCELLED"
    settled_and_next_starts(live)


def test_suspend_ends_the_stage_and_resume_goes_on(home: dict[str, LiveServer]) -> None:
    live = home["now"]
    run = live.start(run="suspended")
    until_stage(live, run, "probe", "Completed")
    live.suspend(run)
    until(lambda: not live.engines(), 15)
    assert live.state(run)["name"] == "Suspended"
    assert "Running" not in dict(live.stages(run)).values()
    settled_and_next_starts(live)
    live.call("POST", f"/flow_runs/{run}/resume", {})
    assert live.wait(run)["type"] == "COMPLETED"
    assert FOLDER["probe"] in reused(live, run)


def test_a_run_that_is_resumed_at_once_is_played_by_one_process(home: dict[str, LiveServer]) -> None:
    live = home["now"]
    run = live.start(run="hasty")
    until_stage(live, run, "train-searcher", "Running")
    (first,) = live.engines()
    live.suspend(run)
    live.call("POST", f"/flow_runs/{run}/resume", {})
    until(lambda: not first.is_running() or first.status() == psutil.STATUS_ZOMBIE, 15)
    assert live.wait(run)["type"] == "COMPLETED"
    settled_and_next_starts(live)


def test_the_process_of_a_deleted_run_ends(home: dict[str, LiveServer]) -> None:
    live = home["now"]
    run = live.start(run="deleted")
    until_stage(live, run, "probe", "Completed")
    live.call("DELETE", f"/flow_runs/{run}")
    until(lambda: not live.engines(), 15)
    settled_and_next_starts(live)
    again = live.start(run="deleted")
    assert live.wait(again)["type"] == "COMPLETED"
    assert FOLDER["probe"] in reused(live, again)


def test_a_schedule_has_one_waiting_run_and_none_once_it_is_off(home: dict[str, LiveServer]) -> None:
    live = home["now"]
    long = [live.start(run=f"long-{number}", rounds=7, overrides=["patience=100"]) for number in range(2)]
    until_stage(live, long[0], "probe", "Completed")
    schedule = repeating(live, seconds=15)
    until(lambda: any(item["state"]["name"] == "Skipped" for item in live.runs()), 120, lambda: str(waiting(live)))
    assert len([name for name in waiting(live) if name.endswith(", often")]) == 1
    switch_off(live, schedule)
    until(lambda: not [name for name in waiting(live) if name.endswith(", often")], 30, lambda: str(waiting(live)))
    skipped = [item["state"]["message"] for item in live.runs() if item["state"]["name"] == "Skipped"]
    assert "skipped: its schedule is switched off" in skipped
    remove(live, schedule)
    for run in long:
        live.set_state(run, "CANCELLING" if live.state(run)["type"] == "RUNNING" else "CANCELLED")
        assert live.wait(run)["type"] in ("CANCELLED", "COMPLETED")
    settled_and_next_starts(live)


def test_missed_schedules_catch_up_once(home: dict[str, LiveServer]) -> None:
    live = home["now"]
    schedule = repeating(live)
    until(lambda: len([item for item in live.runs() if item["state"]["name"] == "Scheduled"]) > 3, 60)
    stop_ui(live)
    time.sleep(200)  # three times pass
    live = home["now"] = live.again()
    lines = [line for line in live.printed if "skipped" in line]
    assert len(lines) >= 2
    assert len(waiting(live)) <= 1
    until(lambda: bool(playing(live)), NEXT, lambda: str(live.runs()))
    switch_off(live, schedule)
    remove(live, schedule)
    for run in playing(live):
        live.set_state(run["id"], "CANCELLING")
    settled_and_next_starts(live)


def test_an_approval_outlives_the_server_and_promotes_once(home: dict[str, LiveServer]) -> None:
    live = home["now"]
    run = live.start(run="approved", approve=True)
    assert live.wait(run, "PAUSED", "FAILED", "CRASHED")["name"] == "Suspended"
    until(lambda: not live.engines(), 30)
    stop_ui(live)
    live = home["now"] = live.again()
    assert live.state(run)["name"] == "Suspended"
    live.call("POST", f"/flow_runs/{run}/resume", {})
    assert live.wait(run)["type"] == "COMPLETED"
    journal = Path(live.environment["ACTIVE_ZERO_STORE"]) / "runs" / "approved" / "round-001" / "_journal"
    commits = [path.read_text() for path in sorted(journal.glob("0*.json"))]
    promotions = [
        text for text in commits if '"event":"committed"' in text.replace(" ", "") and FOLDER["promote"] in text
    ]
    assert len([text for text in promotions if f'"stage":"{FOLDER["promote"]}"' in text.replace(" ", "")]) == 1
    assert reused(live, run) == list(FOLDERS[: FOLDERS.index(FOLDER["evaluate"]) + 1])


def test_prefects_worker_resumes_after_it_was_killed(home: dict[str, LiveServer]) -> None:
    """The worker of `infra/compose.yaml`: `active-zero settle`, then `prefect worker start`."""
    live = home["now"]
    stop_ui(live)
    environment = {**live.environment, "PREFECT_API_URL": f"{live.address}/api", "PREFECT_WORKER_QUERY_SECONDS": "2"}
    serve = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(live.port)]
    work = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
    server = start_process(serve, {**live.environment, "PREFECT_API_URL": ""})
    alone = LiveServer(server, live.port, live.config, environment)  # type: ignore[arg-type]
    try:
        until(lambda: _answers(alone), 120)
        worker = start_process(work, environment)
        run = alone.start(run="container")
        until_stage(alone, run, "probe", "Completed")
        kill_tree(psutil.Process(worker.pid))
        settled = subprocess.run(
            [sys.executable, "-m", "flows.cli", "settle"], env=environment, capture_output=True, text=True, timeout=120
        )
        assert settled.stdout == "container, round 1: Running without a process, now Crashed\n", settled
        worker = start_process(work, environment)
        alone.retry(run)
        until(lambda: alone.state(run)["type"] in ("PENDING", "RUNNING"))
        assert alone.wait(run)["type"] == "COMPLETED"
        assert FOLDER["probe"] in reused(alone, run)
        end_process(worker)
    finally:
        end_process(server)
    home["now"] = start_ui(live.port, live.config, live.environment)


def _answers(live: LiveServer) -> bool:
    try:
        live.call("GET", "/health")
    except OSError:
        return False
    return True


def test_no_temporary_folder_is_left(home: dict[str, LiveServer]) -> None:
    """Each run has one, which its guard removes also after a kill."""
    live = home["now"]
    run = live.start(run="tidy")
    until(lambda: bool(live.engines()))
    until_stage(live, run, "probe", "Running")
    (engine,) = live.engines()
    folder = Path(engine.environ().get("TMPDIR", os.environ.get("TMPDIR", "/tmp")))
    before = set(folder.glob("active-zero-*"))
    assert before
    engine.kill()
    assert live.wait(run)["type"] == "CRASHED"
    until(
        lambda: not before & set(folder.glob("active-zero-*")) or len(set(folder.glob("active-zero-*"))) < len(before),
        30,
    )
