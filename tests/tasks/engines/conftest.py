"""A tiny model, two adapters for it and pictures, written once a session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.engines.request import Adapter
from tasks.records.picture import Picture
from tests.fixtures.tiny_vlm import tiny_picture, write_tiny_adapter, write_tiny_vlm


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_vlm(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def adapter(model_folder: Path) -> Adapter:
    return Adapter("solver", write_tiny_adapter(model_folder, model_folder.parent / "solver", seed=1))


@pytest.fixture(scope="session")
def other_adapter(model_folder: Path) -> Adapter:
    return Adapter("searcher", write_tiny_adapter(model_folder, model_folder.parent / "searcher", seed=2))


@pytest.fixture(scope="session")
def pictures() -> list[Picture]:
    """Four pictures of three sizes."""
    sizes = [(112, 112), (112, 112), (140, 84), (56, 168)]
    return [Picture(f"p/{i}", tiny_picture(i, *size)) for i, size in enumerate(sizes)]


@pytest.fixture(scope="session")
def loaded(model_folder: Path) -> tuple[Any, Any]:
    """The tiny model and its processor, loaded as the engine loads them."""
    import torch

    from tasks.engines.transformers import load

    torch.set_num_threads(1)
    return load(str(model_folder), "cpu", "float32")
