"""A tiny model, and examples with and without a picture."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.records.picture import Picture
from tasks.records.prompt import Prompt
from tasks.trainers.example import Example
from tests.fixtures.tiny_vlm import TinyShape, tiny_picture, write_tiny_vlm


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen2.5-VL of 32 dimensions."""
    shape = TinyShape(hidden=32, intermediate=64, heads=2, kv_heads=1, vision_layers=1)
    return write_tiny_vlm(tmp_path_factory.mktemp("model"), shape)


@pytest.fixture(scope="session")
def examples() -> list[Example]:
    """Six prompts, two of them without a picture."""
    return [
        Example(
            f"q{i}",
            Prompt("How many red circles are there?" if i % 2 else "Which bar is the tallest?"),
            Picture(f"p{i}", tiny_picture(i)) if i % 3 else None,
        )
        for i in range(6)
    ]
