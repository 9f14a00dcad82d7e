"""A round scored by replicas on Ray is the round of one engine, bit for bit, also where replicas are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import ray

from flows.round import FOLDERS
from tasks.engines.replicas import RayEngine
from tasks.engines.request import Completion, Request
from tasks.execution.stage import workspace
from tests.fixtures.played_round import contents_of_a_round
from tests.fixtures.ray_cluster import actor_processes, kill_marked, ray_cluster, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

ONE = {"kind": "transformers", "device": "cpu"}
STEP = {"steps": 2, "prompts": 8, "rollouts": 4}
SHORT = {
    "corpus.source.pictures": 400,
    "probe": {"pictures": 4, "answers": 5},
    "train": {"searcher": STEP, "questioner": STEP, "solver": {**STEP, "prompts": 16}},
    "rewards.answers": 5,
    "search.queries": 64,
    "evaluate": {"samples": 2, "items": 96},
}
SCORING = ("1-probe", "2-train-searcher", "3-search", "4-train-questioner", "5-synthesize", "6-filter", "8-evaluate")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with ray_cluster():
        ray.init(log_to_driver=False, configure_logging=False)
        yield


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return contents_of_a_round(str(tmp_path_factory.mktemp("alone")), {**SHORT, "engine": ONE})


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_a_round_is_the_same_with_any_number_of_replicas(
    cluster: None, alone: dict[str, str], tmp_path: Path, replicas: int
) -> None:
    assert len(alone) == len(FOLDERS)  # the base model's evaluation is one more
    assert (
        contents_of_a_round(
            str(tmp_path), {**SHORT, "engine": {"kind": "ray", "replicas": replicas, "rows": 64, "of": ONE}}
        )
        == alone
    )


def in_each_stage(monkeypatch: pytest.MonkeyPatch, deed: Callable[[], None]) -> list[str]:
    """Does the deed once in each stage that asks the replicas, after their first answer. Returns the stages so far."""
    stream, stages = RayEngine.stream, list[str]()

    def disturbed(
        self: RayEngine, parts: Sequence[Sequence[Request]], on_done: Callable[[int], None] | None = None
    ) -> Iterator[tuple[int, list[list[Completion]]]]:
        stage = workspace().name.rpartition("-")[0]

        def disturb(count: int) -> None:
            if on_done is not None:
                on_done(count)
            if stage not in stages:
                stages.append(stage)
                deed()

        return stream(self, parts, disturb)

    monkeypatch.setattr(RayEngine, "stream", disturbed)
    return stages


def test_a_replica_killed_in_each_scoring_stage_changes_nothing(
    cluster: None, alone: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = in_each_stage(monkeypatch, lambda: os.kill(min(actor_processes("Replica")), signal.SIGKILL))
    assert (
        contents_of_a_round(str(tmp_path), {**SHORT, "engine": {"kind": "ray", "replicas": 2, "rows": 64, "of": ONE}})
        == alone
    )
    assert tuple(sorted(stages)) == SCORING


def test_machines_that_go_and_come_in_each_stage_change_nothing(
    cluster: None, alone: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each stage that asks the replicas, a machine dies, and another one joins some seconds later."""
    with ExitStack() as machines:

        def replace() -> None:
            kill_marked("MACHINE", f"{tmp_path}{len(joined)}")
            joined.append(machines.enter_context(machine(f"{tmp_path}{len(joined) + 1}")))

        joined = [machines.enter_context(machine(f"{tmp_path}1"))]
        wait_for(lambda: ray.cluster_resources()["CPU"] == 4, 60)
        stages = in_each_stage(monkeypatch, replace)
        on_ray = {"kind": "ray", "rows": 64, "of": ONE}
        assert contents_of_a_round(str(tmp_path), {**SHORT, "engine": on_ray}) == alone
    assert tuple(sorted(stages)) == SCORING


@contextmanager
def machine(mark: str) -> Iterator[None]:
    """A node with one processor, in processes with this mark. It joins the cluster some seconds later."""
    command = [Path(sys.executable).with_name("ray"), "start", "--address", os.environ["RAY_ADDRESS"], "--num-cpus=1"]
    environment = {**os.environ, "MACHINE": mark, "RAY_USAGE_STATS_ENABLED": "0"}
    joining = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        joining.wait(60)
        kill_marked("MACHINE", mark)
