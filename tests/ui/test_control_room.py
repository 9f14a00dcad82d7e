"""The Prefect UI: form, artifacts, Retry, schedules, Cancel, approval. The tests share one server, in this order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.round import FOLDERS
from tasks.world import Scene
from tests.fixtures.stages import FOLDER
from tests.ui.conftest import SCREENSHOTS, LiveServer, until

pytestmark = [pytest.mark.ui, pytest.mark.timeout(900)]


def shot(page: Any, name: str) -> None:
    page.wait_for_timeout(1500)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def group_of(leader: int) -> list[psutil.Process]:
    """Living processes of a process group."""
    alive = [process for process in psutil.process_iter() if process.status() != psutil.STATUS_ZOMBIE]
    return [process for process in alive if _group(process.pid) == leader]


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def test_everything_is_registered(live_server: LiveServer) -> None:
    assert live_server.deployment()["global_concurrency_limit"]["limit"] == 1
    assert [schedule["active"] for schedule in live_server.deployment()["schedules"]] == [False]
    assert live_server.deployment("corpus/corpus")["enforce_parameter_schema"]
    assert live_server.deployment("benchmark/benchmark")["enforce_parameter_schema"]
    assert live_server.call("GET", "/v2/concurrency_limits/gpu")["limit"] == 1
    (automation,) = live_server.call("POST", "/automations/filter", {})
    assert automation["trigger"]["posture"] == "Proactive"


@pytest.mark.parametrize(
    "bad",
    [
        {"rounds": 0}, {"force_from_stage": "11-dream"}, {"overrides": ["low"]}, {"run": "../x"}, {"round": 1},
        {"overrides": ["filter.lowx=1"]}, {"overrides": ["filter.low=much"]}, {"overrides": ["filter.low=-1"]},
    ],
    ids=str,
)  # fmt: skip
def test_a_bad_value_is_refused_before_there_is_a_run(live_server: LiveServer, bad: dict[str, object]) -> None:
    with pytest.raises(urllib.error.HTTPError, match="409"):
        live_server.start(**bad)
    assert live_server.call("POST", "/flow_runs/count", {}) == 0


@pytest.mark.parametrize(
    ("deployment", "field"),
    [("self-play/iterate", "config"), ("corpus/corpus", "shards"), ("corpus/corpus", "out"),
     ("benchmark/benchmark", "model"), ("benchmark/benchmark", "benchmark"), ("benchmark/benchmark", "config")],
)  # fmt: skip
def test_a_secret_is_refused_and_stored_nowhere(live_server: LiveServer, deployment: str, field: str) -> None:
    values = {"corpus/corpus": {"shards": "a", "out": "b"}, "benchmark/benchmark": {"model": "c", "benchmark": "d"}}
    with pytest.raises(urllib.error.HTTPError, match="409") as refused:
        live_server.start(deployment, **{**values.get(deployment, {}), field: "s3://key:hunter2@bucket/x"})
    assert "an address without a password, token or signature" in refused.value.read().decode()
    assert live_server.call("POST", "/flow_runs/count", {}) == 0
    database = Path(live_server.environment["PREFECT_HOME"]) / "prefect.db"
    assert not [file for file in database.parent.glob("prefect.db*") if b"hunter2" in file.read_bytes()]


def test_the_form_starts_a_round_and_marks_a_wrong_value(live_server: LiveServer, page: Any) -> None:
    page.goto(f"{live_server.address}/deployments/deployment/{live_server.deployment()['id']}/run")
    page.get_by_role("button", name="Submit").wait_for()
    rounds, (run_name, config, *_) = page.locator("input[type=number]").first, page.locator("textarea").all()
    refused = (
        (rounds, "0", "1", "0 is less than the minimum of 1"),
        (run_name, "form/1", "form", "a name of a-z, 0-9"),
        (config, "s3://key:hunter2@bucket/tiny.yaml", str(live_server.config), "an address without a password"),
    )
    for field, wrong, right, words in refused:
        field.fill(wrong)
        field.blur()
        page.wait_for_timeout(1500)
        page.get_by_role("button", name="Submit").click()
        page.get_by_text(words).first.wait_for()
        shot(page, f"1-form-refused-{right[:4].strip('/')}")
        field.fill(right)
    assert live_server.call("POST", "/flow_runs/count", {}) == 0
    rounds.fill("1")
    rounds.blur()
    page.wait_for_timeout(1500)  # the page reads a field's value a moment after it was typed
    page.get_by_role("button", name="Submit").click()
    until(lambda: live_server.call("POST", "/flow_runs/count", {}) == 1)
    shot(page, "2-form-submitted")
    (run,) = live_server.call("POST", "/flow_runs/filter", {})
    assert live_server.wait(run["id"])["type"] == "COMPLETED"
    names = [name for name, state in live_server.stages(run["id"]) if name.startswith("round-001/")]
    assert names == [f"round-001/{stage}" for stage in FOLDERS]
    page.goto(f"{live_server.address}/runs/flow-run/{run['id']}")
    page.get_by_text("Artifacts", exact=True).first.click()
    shot(page, "3-run")


def test_a_round_has_its_artifacts(live_server: LiveServer, page: Any) -> None:
    found = {item["key"]: item for item in live_server.call("POST", "/artifacts/filter", {"limit": 50})}
    for name in ("stages", "scores", "curriculum", "chart", "report"):
        page.goto(f"{live_server.address}/artifacts/artifact/{found[f'form-round-1-{name}']['id']}")
        shot(page, f"4-artifact-{name}")
    rows = json.loads(found["form-round-1-stages"]["data"])
    assert [row["stage"] for row in rows] == list(FOLDERS)


def test_a_killed_run_crashes_and_retry_reuses_complete_stages(live_server: LiveServer, page: Any) -> None:
    run = live_server.start(run="killed")
    until(lambda: (f"round-001/{FOLDER['synthesize']}", "Completed") in live_server.stages(run))
    live_server.engine().kill()
    assert live_server.wait(run)["type"] == "CRASHED"
    page.goto(f"{live_server.address}/runs/flow-run/{run}")
    page.get_by_text("Task Runs", exact=True).first.click()
    shot(page, "5-crashed")
    page.get_by_role("button", name="Retry").first.click()
    page.wait_for_timeout(1000)
    page.get_by_role("button", name="Retry").last.click()
    until(lambda: live_server.state(run)["type"] != "CRASHED")
    assert live_server.wait(run)["type"] == "COMPLETED"
    stages = live_server.stages(run)
    for name in FOLDERS[: FOLDERS.index(FOLDER["synthesize"]) + 1]:
        assert (f"round-001/{name}", "Reused") in stages
    assert not [name for name, state in stages if state == "Running"]  # the killed stage is Crashed
    page.goto(f"{live_server.address}/runs/flow-run/{run}")
    page.get_by_text("Task Runs", exact=True).first.click()
    shot(page, "6-retried")


def test_a_schedule_fires(live_server: LiveServer) -> None:
    deployment = live_server.deployment()["id"]
    (nightly,) = live_server.deployment()["schedules"]
    plan = {"interval": 60, "anchor_date": "2026-01-01T00:00:00Z"}  # the server looks for new schedules once a minute
    body = {"schedule": plan, "active": True, "parameters": {"run": "scheduled", "config": str(live_server.config)}}
    (made,) = live_server.call("POST", f"/deployments/{deployment}/schedules", [body])
    try:
        found: list[Any] = []

        def fired() -> bool:
            playing = {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}
            runs = live_server.call("POST", "/flow_runs/filter", playing)
            found[:] = [run for run in runs if run["auto_scheduled"]]
            return bool(found)

        until(fired)
    finally:
        live_server.call("DELETE", f"/deployments/{deployment}/schedules/{made['id']}")
    assert found[0]["parameters"]["run"] == "scheduled"
    assert live_server.wait(found[0]["id"])["type"] == "COMPLETED"
    assert not nightly["active"]


def test_deploying_again_keeps_changes_made_in_the_ui(live_server: LiveServer) -> None:
    deployment, yearly = live_server.deployment()["id"], {"cron": "0 3 1 1 *", "timezone": "UTC"}
    (nightly,) = live_server.deployment()["schedules"]
    live_server.call(
        "PATCH", f"/deployments/{deployment}/schedules/{nightly['id']}", {"schedule": yearly, "active": True}
    )
    live_server.call(
        "POST", f"/deployments/{deployment}/schedules", [{"schedule": {"cron": "0 5 * * 1"}, "active": False}]
    )
    live_server.call("PATCH", "/v2/concurrency_limits/gpu", {"limit": 3})
    environment = {**live_server.environment, "PREFECT_API_URL": f"{live_server.address}/api"}
    subprocess.run([sys.executable, "-m", "flows.cli", "deploy"], env=environment, check=True, timeout=300)
    kept = {item["schedule"]["cron"]: item["active"] for item in live_server.deployment()["schedules"]}
    assert kept == {"0 3 1 1 *": True, "0 5 * * 1": False}
    assert live_server.call("GET", "/v2/concurrency_limits/gpu")["limit"] == 3
    assert live_server.deployment()["id"] == deployment


def test_a_corpus_and_a_benchmark_run_from_their_forms(live_server: LiveServer, tmp_path: Path) -> None:
    for seed in range(6):
        (tmp_path / f"{seed}.png").write_bytes(Scene("bar charts", 1, seed).png())
    out = f"{live_server.environment['ACTIVE_ZERO_STORE']}/corpora/photos"
    built = live_server.start("corpus/corpus", shards=str(tmp_path), out=out)
    assert live_server.wait(built)["type"] == "COMPLETED"
    (artifact,) = live_server.artifacts(built).values()
    assert {"what": "rows", "value": "6"} in json.loads(artifact["data"])
    scored = live_server.start(
        "benchmark/benchmark", model=str(live_server.config.parent / "vlm"), benchmark="world:heldout"
    )
    assert live_server.wait(scored)["type"] == "COMPLETED"
    (artifact,) = live_server.artifacts(scored).values()
    assert json.loads(artifact["data"])[-1]["category"] == "all of world:heldout"


def test_cancel_leaves_no_process_behind(live_server: LiveServer, page: Any) -> None:
    run = live_server.start(run="cancelled", overrides=["engine={kind: transformers, workers: 2, device: cpu}"])
    until(lambda: (f"round-001/{FOLDER['probe']}", "Running") in live_server.stages(run))
    leader = live_server.engine().pid
    until(lambda: len(group_of(leader)) >= 4)  # the run, the server that forks, and two engine workers
    live_server.call("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    assert live_server.wait(run)["type"] == "CANCELLED"
    until(lambda: not group_of(leader), 60, lambda: str(group_of(leader)))
    page.goto(f"{live_server.address}/runs/flow-run/{run}")
    shot(page, "7-cancelled")


def test_a_round_with_approval_waits_before_the_promotion(live_server: LiveServer, page: Any) -> None:
    run = live_server.start(run="form", approve=True)
    assert live_server.wait(run, "PAUSED", "FAILED", "CRASHED")["name"] == "Suspended"
    assert [name for name, _ in live_server.stages(run)][-1] == f"round-002/{FOLDER['evaluate']}"
    page.goto(f"{live_server.address}/runs/flow-run/{run}")
    shot(page, "8-approval")
    until(
        lambda: not live_server.engines()
    )  # a worker that still cleans up would delete the folder of a run resumed at once
    page.wait_for_timeout(5000)
    live_server.call("POST", f"/flow_runs/{run}/resume", {})
    assert live_server.wait(run)["type"] == "COMPLETED"
    assert (f"round-002/{FOLDER['promote']}", "Completed") in live_server.stages(run)


def test_iterate_at_the_terminal_uses_the_running_server(live_server: LiveServer) -> None:
    environment = {**live_server.environment, "PREFECT_SERVER_API_PORT": str(live_server.port)}
    command = [sys.executable, "-m", "flows.cli", "iterate", "--run", "terminal", "--config", str(live_server.config)]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=600)
    (run,) = live_server.call("POST", "/flow_runs/filter", {"flow_runs": {"name": {"any_": ["terminal, round 1"]}}})
    assert run["deployment_id"] is None
    assert run["state_type"] == "COMPLETED"


def test_ctrl_c_ends_everything(live_server: LiveServer) -> None:
    """The last test, since it ends the server."""
    live_server.start(run="left")
    until(lambda: bool(live_server.engines()))
    processes = live_server.descendants()
    assert len(processes) >= 3
    live_server.process.send_signal(signal.SIGINT)
    assert live_server.process.wait(120) == 130
    assert not [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
