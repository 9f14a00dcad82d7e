"""The Ray cluster of `compose.ray.yaml`: its own commands, as processes of this machine."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.server.server import free_port
from tests.fixtures.ray_cluster import kill_marked, ray_node

ROOT = Path(__file__).parents[3]
TOKEN = "0123456789abcdef0123456789abcdef"
DRIVER = """
import json, os
from tasks.engines import Ray, Scripted
from tasks.engines.pictures import OWN_LIMITS
from tasks.engines.request import Request, Sampling
from tasks.records.prompt import Prompt

engine = Ray(of=Scripted(rules=[{"texts": ["yes"]}]), replicas="auto", rows=1).open("none", OWN_LIMITS)
requests = [Request(Prompt(f"question {i}"), None, None, Sampling(4), 1, seed=i) for i in range(8)]
answers = [completion.text for (completion,) in engine.generate(requests)]
import ray
nodes = {node["NodeID"] for node in ray.nodes() if node["Resources"].get("CPU")}
print(json.dumps({"answers": answers, "nodes": len(nodes), "replicas": len(engine._pool.ready)}))
engine.close()
"""


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "infra" / "compose.ray.yaml").read_text())["services"]
    return found


def at(port: int, command: str | list[str]) -> list[str]:
    """A service's command with another address of the head."""
    words = shlex.split(command) if isinstance(command, str) else command
    here = {"ray-head:6379": f"127.0.0.1:{port}", "6379": str(port)}
    return [here.get(word, word) for word in words]


def test_the_worker_of_compose_is_a_driver_of_its_ray_cluster() -> None:
    *_, script = shlex.split(services()["worker"]["command"])
    assert "exec infra/ray-driver.sh ray-head:6379 prefect worker start" in script
    assert services()["ray-worker"]["deploy"]["replicas"] == 2
    assert all(service["environment"]["RAY_AUTH_MODE"] == "token" for service in services().values())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_commands_of_compose_make_a_cluster_that_plays(tmp_path: Path) -> None:
    port, found = free_port(), services()
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    environment |= {"CLUSTER_OF": str(tmp_path)}
    environment.pop("RAY_ADDRESS", None)
    try:
        with ExitStack() as nodes:
            nodes.enter_context(ray_node(at(port, found["ray-head"]["command"]), environment, tmp_path / "head"))
            healthy = at(port, found["ray-head"]["healthcheck"]["test"][1:])
            subprocess.run(healthy, env=environment, check=True)
            for number in range(found["ray-worker"]["deploy"]["replicas"]):
                log = tmp_path / f"worker-{number}"
                nodes.enter_context(ray_node(at(port, found["ray-worker"]["command"]), environment, log))
            driver = [str(ROOT / "infra" / "ray-driver.sh"), f"127.0.0.1:{port}", sys.executable, "-c", DRIVER]
            done = subprocess.run(driver, env=environment, capture_output=True, text=True)
    finally:
        kill_marked("CLUSTER_OF", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"answers": ["yes"] * 8, "nodes": 2, "replicas": 4}
