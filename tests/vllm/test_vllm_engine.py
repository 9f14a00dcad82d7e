"""The vLLM engine on the tiny model in float32 (`make test-vllm`, where vLLM is installed)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.engines import Transformers
from tasks.engines.pictures import OWN_LIMITS
from tasks.engines.protocol import Engine
from tasks.engines.request import Adapter, Request, Sampling
from tasks.records.picture import Picture
from tasks.records.prompt import Prompt
from tasks.settings.errors import UserError
from tests.fixtures.small_vllm import NEEDS_VLLM, SMALL
from tests.fixtures.tiny_vlm import tiny_picture

pytestmark = NEEDS_VLLM

HALF = "\N{REPLACEMENT CHARACTER}"
"""Stands for an incomplete character."""


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Engine]:
    engine = SMALL.open(str(folder), OWN_LIMITS)
    yield engine
    engine.close()


def requests_for(sampling: Sampling, adapter: Adapter | None = None, n: int = 1) -> list[Request]:
    picture = Picture("p/1", tiny_picture(1))
    return [
        Request(Prompt(f"How many {i}?"), picture if i % 2 else None, adapter, sampling, n, seed=i) for i in range(8)
    ]


def test_greedy_begins_like_the_transformers_engine(engine: Engine, folder: Path, adapter: Adapter) -> None:
    """First words only: kernels round differently, so long texts may differ. vLLM drops an incomplete character."""
    reference = Transformers(device="cpu").open(str(folder), OWN_LIMITS)
    for role in (None, adapter):
        expected = [
            only.text.rstrip(HALF) for (only,) in reference.generate(requests_for(Sampling(4, temperature=0), role))
        ]
        found = [only.text.rstrip(HALF) for (only,) in engine.generate(requests_for(Sampling(4, temperature=0), role))]
        assert sum(a == b for a, b in zip(expected, found, strict=True)) >= 7, (expected, found)


def test_adapters_change_the_output_and_none_gives_the_base(engine: Engine, adapter: Adapter) -> None:
    base = engine.generate(requests_for(Sampling(8, temperature=0)))
    assert engine.generate(requests_for(Sampling(8, temperature=0), adapter)) != base
    assert engine.generate(requests_for(Sampling(8, temperature=0))) == base


def test_samples_are_n_seeded_and_stop_at_max_tokens(engine: Engine) -> None:
    seen: list[int] = []
    first = engine.generate(requests_for(Sampling(8), n=3), seen.append)
    assert engine.generate(requests_for(Sampling(8), n=3)) == first
    assert sum(seen) == 24
    assert all(len(group) == 3 for group in first)
    assert all(done.tokens == 8 for group in first for done in group if not done.finished)


def test_two_adapters_of_one_name_are_refused(engine: Engine, adapter: Adapter) -> None:
    engine.generate(requests_for(Sampling(2), adapter))
    elsewhere = shutil.copytree(adapter.path, adapter.path.parent / "elsewhere")
    with pytest.raises(UserError, match="two adapters are named"):
        engine.generate(requests_for(Sampling(2), Adapter(adapter.name, elsewhere)))


def test_one_prompt_that_is_too_long_costs_no_other(engine: Engine) -> None:
    """vLLM raises for the whole batch where it meets such a prompt."""
    others = requests_for(Sampling(4, temperature=0))
    large = Request(Prompt("What?"), Picture("large", tiny_picture(5, 1400, 1400)), None, Sampling(490), n=2)
    seen = list[int]()
    replies = engine.generate(
        [*others[:3], Request(Prompt("why " * 400), None, None, Sampling(4)), large, *others[3:]], seen.append
    )
    assert [len(group) for group in replies] == [1, 1, 1, 1, 2, 1, 1, 1, 1, 1]
    assert [reply.refused for group in replies[3:5] for reply in group] == ["prompt too long"] * 3
    assert replies[:3] + replies[5:] == engine.generate(others)
    assert sum(seen) == 11


@pytest.mark.parametrize("size", [(112, 112), (40, 300), (640, 480), (57, 99)])
def test_prompts_are_counted_as_vllm_counts_them(engine: Any, size: tuple[int, int]) -> None:
    request = Request(Prompt("How many?", "You look."), Picture("p", tiny_picture(1, *size)), None, Sampling(4))
    ((ids,), _) = engine.sample([request])
    exactly = replace(request, sampling=Sampling(512 - len(ids)))
    assert engine.fits(exactly) and not engine.fits(replace(request, sampling=Sampling(513 - len(ids))))
