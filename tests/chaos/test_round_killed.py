"""A whole round, killed: the scripted engine answers and tiny models are trained, or it is the embedded round."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
import yaml

from tasks.store import Store
from tasks.store.garbage import find_garbage
from tests.chaos.arena import Player, commits, contents, player, quick_folder
from tests.chaos.test_kill import play_through
from tests.fixtures.tiny_round import write_tiny_config

CURRICULUM = "6-filter"
PATIENCE = 15.0
"""Seconds in which the processes of a killed round must be gone."""


@contextmanager
def arena(kind: str, folder: Path) -> Iterator[tuple[Player, Store]]:
    """A player of rounds with a store of its own."""
    config = str(write_tiny_config(folder)) if kind == "scripted" else kind
    with player(config) as one, quick_folder() as home:
        yield one, Store(str(home))


def left_behind(one: Player) -> list[int]:
    """Processes that a player started and that live, but for itself."""
    mark = f"TMPDIR={one.temporary}".encode()
    alive = [path for path in Path("/proc").glob("[0-9]*") if _has(path / "environ", mark)]
    return [int(path.name) for path in alive if int(path.name) != one.pid]


def _has(environ: Path, mark: bytes) -> bool:
    try:
        return mark in environ.read_bytes().split(b"\0")
    except OSError:
        return False


def wait_until_gone(one: Player) -> None:
    end = time.monotonic() + PATIENCE
    while left_behind(one) and time.monotonic() < end:
        time.sleep(0.2)
    assert left_behind(one) == []


@pytest.mark.slow  # the short form of it are the light rounds of `test_kill`
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize(
    ("kind", "kills", "share"),
    [
        ("scripted", 3, 0.9),
        ("scripted", 200, 0.4),
        ("tiny", 20, 0.4),
    ],
)
def test_a_whole_round_killed_at_random_moments_has_the_curriculum_of_an_undisturbed_one(
    kind: str, kills: int, share: float, tmp_path: Path
) -> None:
    with arena(kind, tmp_path) as (one, store):
        started = time.monotonic()
        assert one.play(store.url, "undisturbed") == {"status": 0, "error": ""}
        seconds, draw, killed, number = time.monotonic() - started, Random(kills), 0, 0
        while killed < kills:
            run = f"r{number}"
            killed += play_through(one, store, run, draw, share * seconds, kills - killed)
            assert contents(store, run, CURRICULUM) == contents(store, "undisturbed", CURRICULUM)
            assert contents(store, run).keys() == contents(store, "undisturbed").keys()
            assert set(commits(store, run).values()) == set(commits(store, run, 0).values()) == {1}
            number += 1
        wait_until_gone(one)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_training_killed_after_any_store_call_ends_with_the_adapter_of_an_undisturbed_one(tmp_path: Path) -> None:
    longer = tmp_path / "longer.yaml"
    solver = {"steps": 4, "save_steps": 1, "passes": None}
    longer.write_text(yaml.safe_dump({"extends": str(write_tiny_config(tmp_path)), "train": {"solver": solver}}))
    stage, weights = "7-train-solver", "adapter/adapter_model.safetensors"
    with player(str(longer)) as one, quick_folder() as home:
        store, calls, drafted = Store(str(home)), 0, 0
        assert one.play(store.url, "undisturbed") == {"status": 0, "error": ""}
        wanted = contents(store, "undisturbed", stage)[stage][weights]
        while True:
            run = f"r{calls}"
            first = one.play(store.url, run, calls=calls, during=stage)
            if first["status"] == 0:
                break
            drafted += bool(list(Path(store.root).glob(f"runs/{run}/round-001/{stage}/partial/*/checkpoint-*")))
            assert one.play(store.url, run) == {"status": 0, "error": ""}
            assert contents(store, run, stage)[stage][weights] == wanted
            calls += 4
        assert drafted >= 3
        left = [str(path) for path in Path(store.root).glob("runs/*/round-001/*/partial/*/*")]
        assert {one.path for one in find_garbage(store.files, timedelta(0)).files} >= set(left)
