"""One process, two worker processes, one and two Ray replicas on the same 4 096 answers, starts told apart."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import pytest

from tasks.engines import Ray, Transformers
from tasks.engines.pictures import OWN_LIMITS
from tasks.engines.request import Request, Sampling
from tasks.records.picture import Picture
from tasks.records.prompt import Prompt
from tests.fixtures.tiny_vlm import tiny_picture

MODEL = Path(__file__).parents[2] / "infra" / "models" / "vlm"
REPEATS = 3
REQUESTS = [
    Request(Prompt("how many red circles ?"), Picture(str(i), tiny_picture(i, 112, 112)), None, Sampling(32), 8, seed=i)
    for i in range(512)
]
ENGINES = {
    "one process": Transformers(device="cpu"),
    "one Ray replica": Ray(of=Transformers(device="cpu"), replicas=1),
    "two workers": Transformers(device="cpu", workers=2),
    "two Ray replicas": Ray(of=Transformers(device="cpu"), replicas=2),
}


@pytest.mark.bench
@pytest.mark.timeout(900)
def test_ray_replicas_beside_worker_processes() -> None:
    """One after the other: replicas of two engines would want the same processors."""
    found = {name: timed(config) for name, config in ENGINES.items()}
    one = found["one process"][1]
    for name, (start, middle) in found.items():
        ratio = one / middle
        print(f"\n{name}: start and first call {start:.1f} s, then {middle:.2f} s, {ratio:.2f} times as fast")


def timed(config: Any) -> tuple[float, float]:
    """Seconds of the start with the first call, and the median of the later calls."""
    started = time.monotonic()
    engine = config.open(str(MODEL), OWN_LIMITS)
    engine.generate(REQUESTS)
    start, seconds = time.monotonic() - started, list[float]()
    for _ in range(REPEATS):
        started = time.monotonic()
        engine.generate(REQUESTS)
        seconds.append(time.monotonic() - started)
    engine.close()
    return start, statistics.median(seconds)
