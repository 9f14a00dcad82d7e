"""Ranks of a training and their driver are killed at random moments: the same command ends with the same adapter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from safetensors.torch import load_file

from tests.fixtures.ranked_training import train
from tests.fixtures.ray_cluster import actor_processes, ray_cluster, wait_for
from tests.fixtures.tiny_vlm import TinyShape, write_tiny_vlm


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with ray_cluster():
        yield


def start(store: Path, model: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.fixtures.ranked_training", str(store), str(model), str(out)]
    return subprocess.Popen(command)


def kill_someone(driver: subprocess.Popen[bytes], draw: Random, seconds: float) -> str | None:
    """`kill -9` for a rank or for the driver, a random time after ranks have started; None if the training ended."""
    wait_for(lambda: bool(actor_processes("Rank")) or driver.poll() is not None, 300)
    with suppress(subprocess.TimeoutExpired):
        driver.wait(draw.uniform(0, seconds))
        return None
    victim = draw.choice([driver.pid, *sorted(actor_processes("Rank"))])
    with suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)
    return "driver" if victim == driver.pid else "rank"


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kills", [20])
def test_ranks_killed_at_random_moments_end_with_the_same_adapter(cluster: None, kills: int, tmp_path: Path) -> None:
    model = write_tiny_vlm(
        tmp_path / "model", TinyShape(hidden=32, intermediate=64, heads=2, kv_heads=1, vision_layers=1)
    )
    begun = time.monotonic()
    train(str(tmp_path / "undisturbed"), str(model), tmp_path / "expected", workers=2)
    seconds, draw, killed, number = time.monotonic() - begun, Random(kills), list[str](), 0
    while len(killed) < kills:
        number += 1
        store, out = tmp_path / f"store{number}", tmp_path / f"out{number}"
        driver = start(store, model, out)
        while len(killed) < kills and (victim := kill_someone(driver, draw, seconds)) is not None:
            killed.append(victim)
            if victim == "driver":
                driver.wait()
                driver = start(store, model, out)
        while driver.wait() != 0:  # a rank that has died again and again is an error; the same command resumes
            driver = start(store, model, out)
        expected, found = (load_file(folder / "adapter_model.safetensors") for folder in (tmp_path / "expected", out))
        assert expected.keys() == found.keys()
        assert max(float((expected[name] - found[name]).abs().max()) for name in expected) < 1e-5
    print(f"{killed.count('rank')} kills of ranks, {killed.count('driver')} of drivers, {number} trainings")
