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
from tasks.corpus import corpus_place, part_of
from tasks.retrieval import RetrievalConfig
from tasks.retrieval.clip import Clip
from tasks.settings.errors import UserError
from tasks.store import Manifest
from tests.fixtures.shards import ordinary_shards, write_shard
from tests.fixtures.tiny_clip import write_tiny_clip

SHARDS = 6


def contents(uri: str) -> dict[str, dict[str, str]]:
    """sha256 of every file of every complete stage, by where it lies and its name."""
    place = corpus_place(uri)
    root = Path(place.store.root, place.prefix)
    manifests = {file.parent: Manifest.model_validate_json(file.read_text()) for file in root.rglob("manifest.json")}
    return {
        folder.relative_to(root).as_posix(): {one.name: one.sha256 for one in manifest.files}
        for folder, manifest in manifests.items()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards, one of them damaged, and a model."""
    folder = tmp_path_factory.mktemp("made")
    ordinary_shards(folder / "shards", shards=SHARDS - 1, pictures=8)
    damaged = write_shard(folder / "shards", f"{SHARDS - 1:05d}", [("a.bmp", b"BM"), ("b.bmp", bytes(9000))])
    damaged.write_bytes(damaged.read_bytes()[:4000])
    write_tiny_clip(folder / "clip")
    return folder


def build(uri: str, made: Path, runner: Any) -> UUID | None:
    """Build by mapped tasks; the flow run's id."""
    library = RetrievalConfig(clip=Clip(model=f"local-dir:{made / 'clip'}", threads=1))
    flow = corpus.build.with_options(task_runner=runner)
    state = flow(uri, corpus.source(str(made / "shards")), library, 3, return_state=True)
    state.result()
    return state.state_details.flow_run_id


def test_shards_are_mapped_tasks_and_give_the_same_bytes_as_one_after_another(
    made: Path, tmp_path: Path, prefect_server: None
) -> None:
    alone, mapped = str(tmp_path / "corpora" / "alone"), str(tmp_path / "corpora" / "mapped")
    library = RetrievalConfig(clip=Clip(model=f"local-dir:{made / 'clip'}", threads=1))
    corpus.build.fn(alone, corpus.source(str(made / "shards")), library)
    flow_run = build(mapped, made, corpus.runner("threads"))
    assert len(contents(mapped)) == 2 * SHARDS + 2
    assert contents(mapped) == contents(alone)
    wanted = [f"shard {number:05d}" for number in range(SHARDS)]
    end = time.monotonic() + 60  # the server is told of tasks a while after they ran
    while shards_in(flow_run) != wanted and time.monotonic() < end:
        time.sleep(0.2)
    assert shards_in(flow_run) == wanted


def test_what_a_task_raises_ends_the_flow_with_the_same_words(made: Path, tmp_path: Path, prefect_server: None) -> None:
    for number in range(3):
        (tmp_path / f"{number}.tar").write_bytes(b"no tar")
    library = RetrievalConfig(clip=Clip(model=f"local-dir:{made / 'clip'}"))
    with pytest.raises(UserError, match="shards are damaged"):
        corpus.build(str(tmp_path / "corpora" / "bad"), corpus.source(str(tmp_path)), library)


def shards_in(flow_run: UUID | None) -> list[str]:
    """Names of the flow run's tasks on shards that the server knows, sorted."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    with get_client(sync_client=True) as client:
        found = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run])))
    return sorted(one.name for one in found if one.name.startswith("shard "))


def workers(uri: str) -> set[int]:
    """Processes that did the work on the shards."""
    place = corpus_place(uri)
    parts = [part_of(place, f"{number:05d}") for number in range(SHARDS)]
    return {entry.owner.pid for part in parts for entry in part.journal.entries() if entry.owner}


@pytest.fixture
def cluster(prefect_server: None) -> Iterator[str]:
    """Two nodes of one processor (and a GPU, as they believe), each with processes of its own."""
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
def test_two_nodes_of_a_ray_cluster_give_the_same_bytes_as_threads(
    made: Path, tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    )
    threads, ray = str(tmp_path / "corpora" / "threads"), str(tmp_path / "corpora" / "ray")
    build(threads, made, corpus.runner("threads"))
    build(ray, made, corpus.runner("ray"))
    assert contents(ray) == contents(threads)
    assert workers(threads) == {os.getpid()}
    assert len(workers(ray)) == 2 and os.getpid() not in workers(ray)
