"""Whole rounds, killed: with the scripted engine and very small models, and the default tiny round."""

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
from tests.fixtures.stages import FOLDER
from tests.fixtures.tiny_round import write_tiny_config

CURRICULUM = FOLDER["filter"]
PATIENCE = 15.0
"""Seconds within which the processes of a killed round must end."""


@contextmanager
def arena(kind: str, folder: Path) -> Iterator[tuple[Player, Store]]:
    """A player of rounds, and an empty store."""
    config = str(write_tiny_config(folder)) if kind == "scripted" else kind
    with player(config) as rounds, quick_folder() as folder:
        yield rounds, Store(str(folder))


def left_behind(player: Player) -> list[int]:
    """Living processes that a player has started, itself excepted."""
    mark = f"TMPDIR={player.temporary}".encode()
    alive = [path for path in Path("/proc").glob("[0-9]*") if _has(path / "environ", mark)]
    return [int(path.name) for path in alive if int(path.name) != player.pid]


def _has(environ: Path, mark: bytes) -> bool:
    try:
        return mark in environ.read_bytes().split(b"\0")
    except OSError:
        return False


def wait_until_gone(player: Player) -> None:
    end = time.monotonic() + PATIENCE
    while left_behind(player) and time.monotonic() < end:
        time.sleep(0.2)
    assert left_behind(player) == []


@pytest.mark.slow  # the light rounds of `test_kill` are the short form
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize(
    ("kind", "kills", "share"),
    [
        ("scripted", 3, 0.9),
        ("scripted", 200, 0.4),
        ("tiny", 20, 0.4),
    ],
)
def test_a_whole_round_killed_at_random_keeps_its_curriculum(
    kind: str, kills: int, share: float, tmp_path: Path
) -> None:
    with arena(kind, tmp_path) as (rounds, store):
        started = time.monotonic()
        assert rounds.play(store.url, "undisturbed") == {"status": 0, "error": ""}
        seconds, draw, killed, number = time.monotonic() - started, Random(kills), 0, 0
        while killed < kills:
            run = f"r{number}"
            killed += play_through(rounds, store, run, draw, share * seconds, kills - killed)
            assert contents(store, run, CURRICULUM) == contents(store, "undisturbed", CURRICULUM)
            assert contents(store, run).keys() == contents(store, "undisturbed").keys()
            assert set(commits(store, run).values()) == set(commits(store, run, 0).values()) == {1}
            number += 1
        wait_until_gone(rounds)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_training_killed_after_any_request_keeps_its_adapter(tmp_path: Path) -> None:
    longer = tmp_path / "longer.yaml"
    solver = {"steps": 4, "save_steps": 1, "passes": None}
    longer.write_text(yaml.safe_dump({"extends": str(write_tiny_config(tmp_path)), "train": {"solver": solver}}))
    stage, weights = FOLDER["train-solver"], "adapter/adapter_model.safetensors"
    with player(str(longer)) as rounds, quick_folder() as home:
        store, calls, with_checkpoint = Store(str(home)), 0, 0
        assert rounds.play(store.url, "undisturbed") == {"status": 0, "error": ""}
        wanted = contents(store, "undisturbed", stage)[stage][weights]
        while True:
            run = f"r{calls}"
            first = rounds.play(store.url, run, calls=calls, during=stage)
            if first["status"] == 0:
                break
            with_checkpoint += bool(list(Path(store.root).glob(f"runs/{run}/round-001/{stage}/partial/*/checkpoint-*")))
            assert rounds.play(store.url, run) == {"status": 0, "error": ""}
            assert contents(store, run, stage)[stage][weights] == wanted
            calls += 4
        assert with_checkpoint >= 3
        left = [str(path) for path in Path(store.root).glob("runs/*/round-001/*/partial/*/*")]
        assert {file.path for file in find_garbage(store.files, timedelta(0)).files} >= set(left)
