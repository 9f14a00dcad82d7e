"""The head of a Ray cluster is killed in the middle of a stage: one line, and the same command resumes it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from flows.round import FOLDERS
from flows.server.server import free_port
from tasks.store import Store
from tests.fixtures.overrides import as_overrides
from tests.fixtures.ray_cluster import kill_marked, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

ROOT = Path(__file__).parents[2]
ON_RAY = as_overrides(
    {
        "corpus.source.pictures": 400,
        "probe": {"pictures": 16, "answers": 64},
        "train.searcher": {"steps": 1, "prompts": 8, "rollouts": 4},
        "engine": {"kind": "ray", "of": {"kind": "transformers", "device": "cpu"}},
    }
)
ITERATE = [sys.executable, "-m", "flows.cli", "iterate", *(word for each in ON_RAY for word in ("--set", each))]


@contextmanager
def cluster(port: int, environment: Mapping[str, str], folder: Path) -> Iterator[None]:
    """A head without processors, and a machine with two."""
    ray = [str(Path(sys.executable).with_name("ray")), "start"]
    commands = {
        "head": [*ray, "--head", "--port", str(port), "--num-cpus=0", "--include-dashboard=false"],
        "worker": [*ray, "--address", f"127.0.0.1:{port}", "--num-cpus=2"],
    }
    try:
        for name, command in commands.items():
            subprocess.run(command, env={**environment, "NODE": f"{folder} {name}"}, check=True, capture_output=True)
        yield
    finally:
        for name in commands:
            kill_marked("NODE", f"{folder} {name}")


def test_a_round_goes_on_after_the_head_was_killed(tmp_path: Path) -> None:
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        "PYTHONPATH": str(ROOT),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        "ACTIVE_ZERO_STORE": str(tmp_path / "store"),
        "PREFECT_HOME": str(tmp_path / "prefect"),
    }
    driver = {**environment, "RAY_ADDRESS": f"127.0.0.1:{port}"}
    chunks = lambda: list((tmp_path / "store" / "runs").glob(f"*/*/{FOLDERS[0]}/*/*/completions-*"))  # noqa: E731
    with cluster(port, environment, tmp_path):
        playing = subprocess.Popen(ITERATE, env=driver, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: bool(chunks()) or playing.poll() is not None, 400)
        assert playing.poll() is None
        kill_marked("NODE", f"{tmp_path} head", "gcs_server")  # its node would be the driver's, too, on one machine
        _, told = playing.communicate(timeout=120)
    assert playing.returncode != 0
    print(told)
    assert any("does not answer any more: start it again" in line for line in told.splitlines())
    before = complete(tmp_path)
    with cluster(port, environment, tmp_path):
        again = subprocess.Popen(ITERATE, env=driver, cwd=tmp_path)
        wait_for(lambda: len(complete(tmp_path)) > len(before), 400)
        again.kill()
        again.wait()
    assert before.items() <= complete(tmp_path).items()


def complete(folder: Path) -> dict[str, str]:
    """The round's complete stages, each with the digest of what it made."""
    stages = Store(str(folder / "store")).stages("default", 1)
    return {name: manifest.contents for name, manifest in stages if manifest}
