"""A tiny model, and examples with and without a picture."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tasks.records.picture import Picture
from tasks.records.prompt import Prompt
from tasks.trainers.example import Example

FIXTURES = Path(__file__).parents[2] / "fixtures"


def _fixtures(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FIXTURES / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


tiny_vlm = _fixtures("tiny_vlm")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen2.5-VL of 32 dimensions."""
    folder: Path = tiny_vlm.write_tiny_vlm(
        tmp_path_factory.mktemp("model"), hidden=32, intermediate=64, heads=2, kv_heads=1, vision_layers=1
    )
    return folder


@pytest.fixture(scope="session")
def examples() -> list[Example]:
    """Six prompts, two of them without a picture."""
    return [
        Example(
            f"q{i}",
            Prompt("How many red circles are there?" if i % 2 else "Which bar is the tallest?"),
            Picture(f"p{i}", tiny_vlm.tiny_picture(i)) if i % 3 else None,
        )
        for i in range(6)
    ]
