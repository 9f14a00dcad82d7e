"""One process, two worker processes and two Ray replicas on the same 1 024 answers, starts told apart."""

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
REPEATS = 5
REQUESTS = [
    Request(Prompt("how many red circles ?"), Picture(str(i), tiny_picture(i, 112, 112)), None, Sampling(32), 8, seed=i)
    for i in range(128)
]
ENGINES = {
    "one process": Transformers(device="cpu"),
    "two workers": Transformers(device="cpu", workers=2),
    "two Ray replicas": Ray(of=Transformers(device="cpu"), replicas=2),
}


@pytest.mark.bench
@pytest.mark.timeout(900)
def test_ray_replicas_beside_worker_processes() -> None:
    engines: dict[str, Any] = {}
    starts: dict[str, float] = {}
    seconds: dict[str, list[float]] = {name: [] for name in ENGINES}
    for name, config in ENGINES.items():
        started = time.monotonic()
        engines[name] = config.open(str(MODEL), OWN_LIMITS)
        engines[name].generate(REQUESTS)
        starts[name] = time.monotonic() - started
    for _ in range(REPEATS):
        for name, engine in engines.items():
            started = time.monotonic()
            engine.generate(REQUESTS)
            seconds[name].append(time.monotonic() - started)
    one = statistics.median(seconds["one process"])
    for name, engine in engines.items():
        middle = statistics.median(seconds[name])
        ratio = one / middle
        print(f"\n{name}: start and first call {starts[name]:.1f} s, then {middle:.2f} s, {ratio:.2f} times as fast")
        engine.close()
