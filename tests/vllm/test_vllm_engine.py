"""The vLLM engine's claims, where vLLM is installed (`pytest -m vllm`).

The tiny model in float32 stands for the real one.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.engines import VLLM, Transformers
from tasks.engines.request import Adapter, Engine, Request, Sampling
from tasks.errors import UserError
from tasks.prompt import Picture, Prompt

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
]


def _tiny() -> Any:
    path = Path(__file__).parents[1] / "fixtures" / "tiny_vlm.py"
    spec = importlib.util.spec_from_file_location("tiny_vlm", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tiny_vlm"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Head size 32: the smallest that vLLM's attention kernels take."""
    return _tiny().write_tiny_vlm(tmp_path_factory.mktemp("tiny") / "model", hidden=128, heads=4, intermediate=256)


@pytest.fixture(scope="module")
def adapter(folder: Path) -> Adapter:
    return Adapter("solver-1", _tiny().write_tiny_adapter(folder, folder.parent / "solver", rank=8))


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Engine]:
    config = VLLM(dtype="float32", max_model_len=512, max_lora_rank=8, enforce_eager=True, gpu_memory_utilization=0.3)
    engine = config.open(str(folder))
    yield engine
    engine.close()


def ask(sampling: Sampling, adapter: Adapter | None = None, n: int = 1) -> list[Request]:
    picture = Picture("p/1", _tiny().tiny_picture(1))
    return [
        Request(Prompt(f"How many {i}?"), picture if i % 2 else None, adapter, sampling, n, seed=i) for i in range(8)
    ]


def test_greedy_begins_as_the_embedded_engine_does(engine: Engine, folder: Path, adapter: Adapter) -> None:
    """Token counts and first words: kernels round differently, so whole texts need not agree."""
    embedded = Transformers(device="cpu").open(str(folder))
    for role in (None, adapter):
        ours = embedded.generate(ask(Sampling(4, temperature=0), role))
        theirs = engine.generate(ask(Sampling(4, temperature=0), role))
        same = [one[0].text == two[0].text for one, two in zip(ours, theirs, strict=True)]
        assert sum(same) >= 7, (ours, theirs)


def test_adapters_change_the_output_and_none_gives_the_base(engine: Engine, adapter: Adapter) -> None:
    base = engine.generate(ask(Sampling(8, temperature=0)))
    assert engine.generate(ask(Sampling(8, temperature=0), adapter)) != base
    assert engine.generate(ask(Sampling(8, temperature=0))) == base


def test_samples_are_n_seeded_and_stop_at_max_tokens(engine: Engine) -> None:
    seen: list[int] = []
    first = engine.generate(ask(Sampling(8), n=3), seen.append)
    assert engine.generate(ask(Sampling(8), n=3)) == first
    assert sum(seen) == 24
    assert all(len(group) == 3 for group in first)
    assert all(one.tokens == 8 for group in first for one in group if not one.finished)


def test_two_adapters_of_one_name_are_refused(engine: Engine, adapter: Adapter) -> None:
    engine.generate(ask(Sampling(2), adapter))
    with pytest.raises(UserError, match="two adapters are named"):
        engine.generate(ask(Sampling(2), Adapter(adapter.name, adapter.path.parent / "elsewhere")))
