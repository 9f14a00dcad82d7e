"""Other architectures in vLLM: its greedy replies are those of the transformers engine, adapters included."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tasks.engines import Transformers
from tasks.engines.pictures import OWN_LIMITS
from tasks.engines.request import Adapter, Completion, Request, Sampling
from tasks.records.picture import Picture
from tasks.records.prompt import Prompt
from tests.fixtures.small_vllm import NEEDS_VLLM, SMALL
from tests.fixtures.tiny_architectures import write_language_adapter, write_tiny_architecture
from tests.fixtures.tiny_vlm import tiny_picture

pytestmark = NEEDS_VLLM


@pytest.mark.parametrize("name", ["qwen3_vl", "internvl", "idefics3"])
def test_its_replies_are_those_of_the_transformers_engine(name: str, tmp_path: Path) -> None:
    folder = write_tiny_architecture(name, tmp_path / "model")
    adapter = Adapter("solver-1", write_language_adapter(folder, tmp_path / "adapter"))
    pictures = [Picture(f"p{i}", tiny_picture(i, *size)) for i, size in enumerate([(112, 112), (120, 60)])]
    base = [Request(Prompt("How many?"), each, None, Sampling(4, temperature=0.0)) for each in [*pictures, None]]
    requests = [*base, *(replace(request, adapter=adapter) for request in base)]
    ours = Transformers(device="cpu").open(str(folder), OWN_LIMITS)
    expected = ours.generate(requests)
    ours.close()
    engine = SMALL.open(str(folder), OWN_LIMITS)
    try:
        found = engine.generate(requests)
    finally:
        engine.close()
    equal = [_text(a) == _text(b) for a, b in zip(found, expected, strict=True)]
    assert sum(equal) >= len(equal) - 1, (found, expected)  # kernels round differently
    assert len({_text(group) for group in found}) > 4, "neither pictures nor adapter change the replies"


def _text(group: list[Completion]) -> str:
    """The only reply, without an incomplete character at its end, which vLLM leaves out."""
    return group[0].text.rstrip("\N{REPLACEMENT CHARACTER}")
