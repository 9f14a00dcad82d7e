"""One engine for a round beside one a stage, and one engine for scoring and rollouts beside two.

The stages are short, so the ratios show what a start costs. `engine.kind` is transformers with two processes, and vLLM
where it is installed (in `build/vllm`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import psutil
import pytest

from tasks.engines import EngineConfig, Transformers
from tasks.engines.open_engines import Engines, engines_for_stage
from tasks.engines.pictures import OWN_LIMITS
from tasks.engines.request import Request, Sampling
from tasks.execution.kept import keep_open
from tasks.records.picture import Picture
from tasks.records.prompt import Prompt
from tests.fixtures.small_vllm import SMALL
from tests.fixtures.tiny_vlm import TinyShape, tiny_picture, write_tiny_vlm

STAGES = 4
REQUESTS = [
    Request(Prompt("How many red circles?"), Picture(str(i), tiny_picture(i)), None, Sampling(16), 4, seed=i)
    for i in range(64)
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    shape = TinyShape(hidden=128, heads=4, intermediate=256)  # vLLM needs heads of at least 32
    return str(write_tiny_vlm(tmp_path_factory.mktemp("bench") / "model", shape))


def engine(kind: str) -> EngineConfig:
    if kind == "vllm":
        pytest.importorskip("vllm")
        return SMALL
    return Transformers(workers=2)


def stages(config: EngineConfig, model: str, kept: bool) -> float:
    """Seconds of the stages."""
    started = time.monotonic()
    with keep_open() if kept else nullcontext():
        for _ in range(STAGES):
            with engines_for_stage(config, OWN_LIMITS) as engines:
                engines.for_model(model).generate(REQUESTS)
    return time.monotonic() - started


@contextmanager
def memory(config: EngineConfig, model: str, whole: bool) -> Iterator[tuple[float, float]]:
    """Seconds to open the engines of a training stage, and GiB of their processes."""
    started, engines = time.monotonic(), Engines(config, OWN_LIMITS)
    before = used()
    opened = [engines.for_model(model), engines.for_policy(model, whole=whole)]
    for each in opened:
        each and each.generate(REQUESTS[:4])
    yield time.monotonic() - started, used() - before
    engines.close()


def used() -> float:
    """GiB of this process and its children, shared pages counted once."""
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return float(sum(process.memory_full_info().pss for process in family)) / 2**30


@pytest.mark.bench
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", ["transformers", "vllm"])
def test_one_engine_a_round_beside_one_a_stage(kind: str, model: str) -> None:
    config = engine(kind)
    alone, kept = stages(config, model, kept=False), stages(config, model, kept=True)
    print(f"\n{kind}: {STAGES} stages with an engine each {alone:.1f} s, with one engine {kept:.1f} s")


@pytest.mark.bench
@pytest.mark.timeout(1200)
def test_one_engine_a_training_beside_two(model: str) -> None:
    config: Any = engine("vllm")
    for name, whole in (("one engine", False), ("two engines", True)):
        with memory(config, model, whole) as (seconds, gib):
            print(f"\nvllm, {name}: ready in {seconds:.1f} s, {gib:.2f} GiB")
