"""The process of a flow ends in the middle of a stage, on a Ray cluster that goes on.

Nothing of it stays on the cluster, and the same command resumes the stage."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.history import start_of
from flows.round import FOLDERS, round_place
from flows.server.server import free_port
from tasks.config import load_config
from tasks.corpus import CorpusHandle
from tasks.probe import probe_frontier
from tasks.settings.seeds import seed_of
from tasks.store import Store
from tests.fixtures.overrides import as_overrides
from tests.fixtures.ray_cluster import actor_processes, ray_cluster, wait_for
from tests.fixtures.shards import ordinary_shards
from tests.fixtures.tiny_clip import write_tiny_clip
from tests.ui.conftest import environment_in, start_ui, stop_ui

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

ROOT = Path(__file__).parents[2]
ONE = {"kind": "transformers", "device": "cpu"}
ROUND = {"corpus.source.pictures": 400, "probe": {"pictures": 16, "answers": 64}}
"""The first stage samples 16 384 answers, in chunks of 4 096."""
ON_RAY = as_overrides({**ROUND, "engine": {"kind": "ray", "replicas": 2, "of": ONE}})
ITERATE = [sys.executable, "-m", "flows.cli", "iterate", *(word for each in ON_RAY for word in ("--set", each))]
START = 400.0
"""Seconds until the first chunk is kept, on a busy machine."""
END = 20.0
"""Seconds until the cluster is free."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A cluster of three processors, and a driver that looks at it."""
    import ray

    with ray_cluster():
        ray.init(log_to_driver=False, configure_logging=False)
        yield


def busy() -> bool:
    """Whether a replica has a process or a processor."""
    import ray

    return bool(actor_processes("Replica")) or ray.available_resources().get("CPU") != ray.cluster_resources()["CPU"]


def kept(store: Path) -> dict[str, int]:
    """The chunks that the first stage has kept, each with the time at which it was written."""
    found = (store / "runs").glob(f"*/round-001/{FOLDERS[0]}/*/*/completions-*")
    return {path.name: path.stat().st_mtime_ns for path in found}


def in_the_middle(store: Path, process: subprocess.Popen[bytes]) -> None:
    wait_for(lambda: bool(kept(store)) or process.poll() is not None, START)
    assert process.poll() is None and actor_processes("Replica")


def play(folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(ITERATE, env=environment_in(folder), cwd=ROOT, stdout=log, stderr=log)


def test_a_round_goes_on_after_its_process_was_killed_or_interrupted(cluster: None, tmp_path: Path) -> None:
    store = tmp_path / "store"
    killed = play(tmp_path)
    in_the_middle(store, killed)
    killed.kill()
    print(f"free {wait_for(lambda: not busy(), END):.1f} s after SIGKILL")
    before = kept(store)
    assert 1 <= len(before) < 4

    resumed = play(tmp_path)
    files = Store(str(store))
    stage = lambda: files.stages("default", 1)[0][1]  # noqa: E731
    seen: set[int] = set()

    def complete() -> bool:
        seen.update(now for name, now in kept(store).items() if name in before)
        return stage() is not None

    wait_for(complete, START, (tmp_path / "log").read_text)
    assert seen == set(before.values())  # its chunks were not sampled again
    resumed.send_signal(signal.SIGINT)
    print(f"free {wait_for(lambda: not busy(), END):.1f} s after Ctrl-C")
    resumed.wait(60)
    manifest = stage()
    assert manifest is not None and manifest.contents == alone(tmp_path / "alone")


def alone(folder: Path) -> str:
    """The digest of the stage's rows where one engine plays it without interruption."""
    config, store = load_config("tiny", as_overrides({**ROUND, "engine": ONE})), Store(str(folder))
    start = start_of(config, store, "r", 1)
    corpus = CorpusHandle.of_run(store, config)
    place = round_place(store, "r", 1)
    return probe_frontier(
        place, config.probe, start.team, corpus, config.domains, seed_of(config.seed, 1)
    ).manifest.contents


def test_a_cancelled_flow_run_frees_the_cluster(cluster: None, tmp_path: Path) -> None:
    live = start_ui(free_port(), Path("tiny.yaml"), environment_in(tmp_path))
    try:
        run = live.start(run="cancelled", overrides=list(ON_RAY))
        wait_for(lambda: bool(kept(tmp_path / "store")), START, lambda: json.dumps(live.state(run)))
        assert actor_processes("Replica")
        live.set_state(run, "CANCELLING")
        print(f"free {wait_for(lambda: not busy(), END):.1f} s after Cancel")
        assert live.wait(run)["type"] == "CANCELLED"
    finally:
        stop_ui(live)


def test_a_killed_corpus_build_frees_the_cluster(cluster: None, tmp_path: Path) -> None:
    """Its shards are tasks of prefect-ray."""
    shards = ordinary_shards(tmp_path / "shards", shards=12, pictures=1000)
    clip = write_tiny_clip(tmp_path / "clip")
    settings = {"runner": "ray", "corpus.at_once": 3, "retrieval.clip.model": f"local-dir:{clip}"}
    words = [word for each in as_overrides(settings) for word in ("--set", each)]
    command = [
        sys.executable,
        "-m",
        "flows.cli",
        "corpus",
        "build",
        str(shards),
        "--out",
        str(tmp_path / "out"),
        *words,
    ]
    with (tmp_path / "log").open("wb") as log:
        build = subprocess.Popen(command, env=environment_in(tmp_path), cwd=ROOT, stdout=log, stderr=log)
    wait_for(lambda: busy() or build.poll() is not None, START, (tmp_path / "log").read_text)
    assert build.poll() is None, (tmp_path / "log").read_text()
    build.kill()
    print(f"free {wait_for(lambda: not busy(), END):.1f} s after SIGKILL of a build")
