"""A corpus built by mapped tasks: on threads, and on two machines of a Ray cluster."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from flows import corpus
from tasks.corpora.detect import detect_source
from tasks.corpus import corpus_place, part_of
from tasks.retrieval import RetrievalConfig
from tasks.retrieval.clip import Clip
from tasks.settings.errors import UserError
from tasks.store import Manifest
from tests.fixtures.shards import ordinary_shards, write_shard
from tests.fixtures.tiny_clip import write_tiny_clip

SHARDS = 6


def contents(uri: str) -> dict[str, dict[str, str]]:
    """sha256 of every file of every complete stage, by the stage's folder and the file's name."""
    place = corpus_place(uri)
    root = Path(place.store.root, place.prefix)
    manifests = {file.parent: Manifest.model_validate_json(file.read_text()) for file in root.rglob("manifest.json")}
    return {
        folder.relative_to(root).as_posix(): {file.name: file.sha256 for file in manifest.files}
        for folder, manifest in manifests.items()
    }


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shards, one of them damaged, and a CLIP model."""
    folder = tmp_path_factory.mktemp("inputs")
    ordinary_shards(folder / "shards", shards=SHARDS - 1, pictures=8)
    damaged = write_shard(folder / "shards", f"{SHARDS - 1:05d}", [("a.bmp", b"BM"), ("b.bmp", bytes(9000))])
    damaged.write_bytes(damaged.read_bytes()[:4000])
    write_tiny_clip(folder / "clip")
    return folder


def build(uri: str, inputs: Path, runner: Any) -> UUID | None:
    """Build by mapped tasks. Returns the flow run's id."""
    retrieval = RetrievalConfig(clip=Clip(model=f"local-dir:{inputs / 'clip'}", threads=1))
    flow = corpus.build.with_options(task_runner=runner)
    state = flow(uri, detect_source(str(inputs / "shards")), retrieval, 3, return_state=True)
    state.result()
    return state.state_details.flow_run_id


def test_mapped_tasks_give_the_same_bytes_as_a_plain_call(inputs: Path, tmp_path: Path, prefect_server: None) -> None:
    alone, mapped = str(tmp_path / "corpora" / "alone"), str(tmp_path / "corpora" / "mapped")
    retrieval = RetrievalConfig(clip=Clip(model=f"local-dir:{inputs / 'clip'}", threads=1))
    corpus.build.fn(alone, detect_source(str(inputs / "shards")), retrieval)
    flow_run = build(mapped, inputs, corpus.runner("threads"))
    assert len(contents(mapped)) == 2 * SHARDS + 2
    assert contents(mapped) == contents(alone)
    wanted = [f"shard {number:05d}" for number in range(SHARDS)]
    end = time.monotonic() + 60  # the server learns of tasks a while after they ran
    while shards_in(flow_run) != wanted and time.monotonic() < end:
        time.sleep(0.2)
    assert shards_in(flow_run) == wanted


def test_a_task_error_ends_the_flow_with_the_same_message(inputs: Path, tmp_path: Path, prefect_server: None) -> None:
    for number in range(3):
        (tmp_path / f"{number}.tar").write_bytes(b"no tar")
    retrieval = RetrievalConfig(clip=Clip(model=f"local-dir:{inputs / 'clip'}"))
    with pytest.raises(UserError, match="shards are damaged"):
        corpus.build(str(tmp_path / "corpora" / "bad"), detect_source(str(tmp_path)), retrieval)


def shards_in(flow_run: UUID | None) -> list[str]:
    """Sorted names of the flow run's shard tasks, as the server has them."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    with get_client(sync_client=True) as client:
        task_runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run])))
    return sorted(run.name for run in task_runs if run.name.startswith("shard "))


def workers(uri: str) -> set[int]:
    """Ids of the processes that processed the shards."""
    place = corpus_place(uri)
    parts = [part_of(place, f"{number:05d}") for number in range(SHARDS)]
    return {entry.owner.pid for part in parts for entry in part.journal.entries() if entry.owner}


@pytest.fixture
def cluster(prefect_server: None) -> Iterator[str]:
    """Two Ray nodes with one processor and one declared GPU each."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 1})
    cluster.add_node(num_cpus=1, num_gpus=1)
    cluster.wait_for_nodes()
    try:
        yield cluster.address
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.slow
def test_two_ray_nodes_give_the_same_bytes_as_threads(
    inputs: Path, tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    )
    threads, ray = str(tmp_path / "corpora" / "threads"), str(tmp_path / "corpora" / "ray")
    build(threads, inputs, corpus.runner("threads"))
    build(ray, inputs, corpus.runner("ray"))
    assert contents(ray) == contents(threads)
    assert workers(threads) == {os.getpid()}
    assert len(workers(ray)) == 2 and os.getpid() not in workers(ray)
