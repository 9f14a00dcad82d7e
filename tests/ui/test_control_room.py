"""A user schedules rounds on the page, clicks Retry, and goes home. In this order, on one server."""

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

from flows.force import FOLDERS
from tasks.world import scene_at
from tests.ui.conftest import SCREENSHOTS, House, until

pytestmark = [pytest.mark.ui, pytest.mark.timeout(900)]


def shot(page: Any, name: str) -> None:
    page.wait_for_timeout(1500)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def group_of(leader: int) -> list[psutil.Process]:
    """Processes of a group that are still there."""
    alive = [one for one in psutil.process_iter() if one.status() != psutil.STATUS_ZOMBIE]
    return [one for one in alive if _group(one.pid) == leader]


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def test_everything_is_registered(house: House) -> None:
    assert house.deployment()["global_concurrency_limit"]["limit"] == 1
    assert [one["active"] for one in house.deployment()["schedules"]] == [False]
    assert house.deployment("corpus/corpus")["enforce_parameter_schema"]
    assert house.deployment("benchmark/benchmark")["enforce_parameter_schema"]
    assert house.call("GET", "/v2/concurrency_limits/gpu")["limit"] == 1
    (automation,) = house.call("POST", "/automations/filter", {})
    assert automation["trigger"]["posture"] == "Proactive"


@pytest.mark.parametrize(
    "bad",
    [{"rounds": 0}, {"force_from_stage": "11-dream"}, {"overrides": ["low"]}, {"run": "../x"}, {"round": 1}],
    ids=str,
)
def test_a_bad_value_is_refused_before_there_is_a_run(house: House, bad: dict[str, object]) -> None:
    with pytest.raises(urllib.error.HTTPError, match="409"):
        house.start(**bad)
    assert house.call("POST", "/flow_runs/count", {}) == 0


def test_the_form_starts_a_round_and_says_what_is_wrong_with_a_value(house: House, page: Any) -> None:
    page.goto(f"{house.address}/deployments/deployment/{house.deployment()['id']}/run")
    page.get_by_role("button", name="Submit").wait_for()
    rounds, (run_name, config, *_) = page.locator("input[type=number]").first, page.locator("textarea").all()
    rounds.fill("0")
    run_name.fill("form")
    config.fill(str(house.config))
    page.get_by_role("button", name="Submit").click()
    shot(page, "1-form-refused")
    assert house.call("POST", "/flow_runs/count", {}) == 0
    rounds.fill("1")
    rounds.blur()
    page.wait_for_timeout(1500)  # the page takes a field's value over a moment after it was typed
    page.get_by_role("button", name="Submit").click()
    until(lambda: house.call("POST", "/flow_runs/count", {}) == 1)
    shot(page, "2-form-submitted")
    (run,) = house.call("POST", "/flow_runs/filter", {})
    assert house.wait(run["id"])["type"] == "COMPLETED"
    names = [name for name, state in house.stages(run["id"]) if name.startswith("round-001/")]
    assert names == [f"round-001/{stage}" for stage in FOLDERS]
    page.goto(f"{house.address}/runs/flow-run/{run['id']}")
    page.get_by_text("Artifacts", exact=True).first.click()
    shot(page, "3-run")


def test_a_round_has_its_page(house: House, page: Any) -> None:
    found = {one["key"]: one for one in house.call("POST", "/artifacts/filter", {"limit": 50})}
    for name in ("stages", "scores", "curriculum", "chart", "report"):
        page.goto(f"{house.address}/artifacts/artifact/{found[f'form-round-1-{name}']['id']}")
        shot(page, f"4-artifact-{name}")
    rows = json.loads(found["form-round-1-stages"]["data"])
    assert [row["stage"] for row in rows] == list(FOLDERS)


def test_a_killed_run_is_crashed_and_retry_reuses_what_it_had_played(house: House, page: Any) -> None:
    run = house.start(run="killed")
    until(lambda: ("round-001/5-synthesize", "Completed") in house.stages(run))
    house.engine().kill()
    assert house.wait(run)["type"] == "CRASHED"
    page.goto(f"{house.address}/runs/flow-run/{run}")
    page.get_by_text("Task Runs", exact=True).first.click()
    shot(page, "5-crashed")
    page.get_by_role("button", name="Retry").first.click()
    page.wait_for_timeout(1000)
    page.get_by_role("button", name="Retry").last.click()
    until(lambda: house.state(run)["type"] != "CRASHED")
    assert house.wait(run)["type"] == "COMPLETED"
    stages = house.stages(run)
    for name in FOLDERS[:5]:
        assert (f"round-001/{name}", "Reused") in stages
    assert not [one for one in stages if one[1] == "Running"]  # what was killed says so
    page.goto(f"{house.address}/runs/flow-run/{run}")
    page.get_by_text("Task Runs", exact=True).first.click()
    shot(page, "6-retried")


def test_a_schedule_fires(house: House) -> None:
    deployment = house.deployment()["id"]
    (nightly,) = house.deployment()["schedules"]
    plan = {"interval": 60, "anchor_date": "2026-01-01T00:00:00Z"}  # the server looks for new schedules once a minute
    body = {"schedule": plan, "active": True, "parameters": {"run": "scheduled", "config": str(house.config)}}
    (made,) = house.call("POST", f"/deployments/{deployment}/schedules", [body])
    try:
        found: list[Any] = []

        def fired() -> bool:
            playing = {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}
            found[:] = [one for one in house.call("POST", "/flow_runs/filter", playing) if one["auto_scheduled"]]
            return bool(found)

        until(fired)
    finally:
        house.call("DELETE", f"/deployments/{deployment}/schedules/{made['id']}")
    assert found[0]["parameters"]["run"] == "scheduled"
    assert house.wait(found[0]["id"])["type"] == "COMPLETED"
    assert not nightly["active"]


def test_deploying_again_keeps_what_a_person_changed_on_the_page(house: House) -> None:
    deployment, yearly = house.deployment()["id"], {"cron": "0 3 1 1 *", "timezone": "UTC"}
    (nightly,) = house.deployment()["schedules"]
    house.call("PATCH", f"/deployments/{deployment}/schedules/{nightly['id']}", {"schedule": yearly, "active": True})
    house.call("POST", f"/deployments/{deployment}/schedules", [{"schedule": {"cron": "0 5 * * 1"}, "active": False}])
    house.call("PATCH", "/v2/concurrency_limits/gpu", {"limit": 3})
    environment = {**house.environment, "PREFECT_API_URL": f"{house.address}/api"}
    subprocess.run([sys.executable, "-m", "flows.cli", "deploy"], env=environment, check=True, timeout=300)
    kept = {one["schedule"]["cron"]: one["active"] for one in house.deployment()["schedules"]}
    assert kept == {"0 3 1 1 *": True, "0 5 * * 1": False}
    assert house.call("GET", "/v2/concurrency_limits/gpu")["limit"] == 3
    assert house.deployment()["id"] == deployment


def test_a_corpus_is_built_and_a_model_scored_from_forms_of_their_own(house: House, tmp_path: Path) -> None:
    for seed in range(6):
        (tmp_path / f"{seed}.png").write_bytes(scene_at("bar charts", 1, seed).png())
    out = f"{house.environment['ACTIVE_ZERO_STORE']}/corpora/photos"
    built = house.start("corpus/corpus", shards=str(tmp_path), out=out)
    assert house.wait(built)["type"] == "COMPLETED"
    (told,) = house.artifacts(built).values()
    assert {"what": "rows", "value": "6"} in json.loads(told["data"])
    scored = house.start("benchmark/benchmark", model=str(house.config.parent / "vlm"), benchmark="world:heldout")
    assert house.wait(scored)["type"] == "COMPLETED"
    (told,) = house.artifacts(scored).values()
    assert json.loads(told["data"])[-1]["category"] == "all of world:heldout"


def test_cancel_leaves_no_process_behind(house: House, page: Any) -> None:
    run = house.start(run="cancelled", overrides=["engine={kind: transformers, workers: 2, device: cpu}"])
    until(lambda: ("round-001/1-probe", "Running") in house.stages(run))
    leader = house.engine().pid
    until(lambda: len(group_of(leader)) >= 4)  # the run, the server that forks, and two engine workers
    house.call("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    assert house.wait(run)["type"] == "CANCELLED"
    until(lambda: not group_of(leader), 60, lambda: str(group_of(leader)))
    page.goto(f"{house.address}/runs/flow-run/{run}")
    shot(page, "7-cancelled")


def test_a_round_that_needs_approval_waits_for_it_before_the_promotion(house: House, page: Any) -> None:
    run = house.start(run="form", approve=True)
    assert house.wait(run, "PAUSED", "FAILED", "CRASHED")["name"] == "Suspended"
    assert [name for name, _ in house.stages(run)][-1] == "round-002/8-evaluate"
    page.goto(f"{house.address}/runs/flow-run/{run}")
    shot(page, "8-approval")
    until(lambda: not house.engines())  # a worker that is still tidying up takes the folder from a run resumed at once
    page.wait_for_timeout(5000)
    house.call("POST", f"/flow_runs/{run}/resume", {})
    assert house.wait(run)["type"] == "COMPLETED"
    assert ("round-002/9-promote", "Completed") in house.stages(run)


def test_iterate_at_the_terminal_uses_the_server_that_runs(house: House) -> None:
    environment = {**house.environment, "PREFECT_SERVER_API_PORT": str(house.port)}
    command = [sys.executable, "-m", "flows.cli", "iterate", "--run", "terminal", "--config", str(house.config)]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=600)
    (run,) = house.call("POST", "/flow_runs/filter", {"flow_runs": {"name": {"any_": ["terminal"]}}})
    assert run["deployment_id"] is None
    assert run["state_type"] == "COMPLETED"


def test_ctrl_c_ends_everything(house: House) -> None:
    """The last one, since it ends the server."""
    house.start(run="left")
    until(lambda: any("prefect.engine" in " ".join(one.cmdline()) for one in house.below()))
    processes = house.below()
    assert len(processes) >= 3
    house.process.send_signal(signal.SIGINT)
    assert house.process.wait(120) == 130
    assert not [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
