"""A round scored by replicas on Ray is the round of one engine, bit for bit, also where replicas are killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from flows.history import start_of
from flows.round import FOLDERS, play_round
from tasks.config import load_config
from tasks.engines.replicas import RayEngine
from tasks.engines.request import Completion, Request
from tasks.execution.stage import workspace
from tasks.store import Store
from tests.fixtures.overrides import as_overrides
from tests.fixtures.ray_cluster import actor_processes, ray_cluster

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
        yield


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return contents_of_a_round(tmp_path_factory.mktemp("alone"), ONE)


def contents_of_a_round(folder: Path, engine: object) -> dict[str, str]:
    """A round's stages, each with the digest of its rows and files; without the report, which tells seconds."""
    config, store = load_config("tiny", as_overrides({**SHORT, "engine": engine})), Store(str(folder))
    play_round(config, store, "r", 1, start_of(config, store, "r", 1))
    stages = [*store.stages("r", 0), *store.stages("r", 1)]
    return {
        f"{number} {name}": manifest.contents
        for number, (name, manifest) in enumerate(stages)
        if manifest and name != FOLDERS[-1]
    }


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_a_round_is_the_same_with_any_number_of_replicas(
    cluster: None, alone: dict[str, str], tmp_path: Path, replicas: int
) -> None:
    assert len(alone) == len(FOLDERS)  # the base model's evaluation is one more
    assert contents_of_a_round(tmp_path, {"kind": "ray", "replicas": replicas, "rows": 64, "of": ONE}) == alone


def test_a_replica_killed_in_each_scoring_stage_changes_nothing(
    cluster: None, alone: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate, killed = RayEngine.generate, dict[str, int]()

    def deadly(
        self: RayEngine, requests: Sequence[Request], on_done: Callable[[int], None] | None = None
    ) -> list[list[Completion]]:
        stage = workspace().name.rpartition("-")[0]

        def kill_once(count: int) -> None:
            if on_done is not None:
                on_done(count)
            if stage not in killed:
                killed[stage] = min(actor_processes("Replica"))
                os.kill(killed[stage], signal.SIGKILL)

        return generate(self, requests, kill_once)

    monkeypatch.setattr(RayEngine, "generate", deadly)
    assert contents_of_a_round(tmp_path, {"kind": "ray", "replicas": 2, "rows": 64, "of": ONE}) == alone
    assert tuple(sorted(killed)) == SCORING
