"""A tiny model, an adapter for it and pictures, written once a session."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tasks.engines.request import Adapter
from tasks.records.picture import Picture


def _load(name: str) -> ModuleType:
    """tests/ is no package: load a fixture module from its file."""
    if name not in sys.modules:
        path = Path(__file__).parents[2] / "fixtures" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


_tiny_vlm: Any = _load("tiny_vlm")


@pytest.fixture(scope="session")
def tiny_vlm() -> Any:
    """The module tests/fixtures/tiny_vlm.py."""
    return _tiny_vlm


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _tiny_vlm.write_tiny_vlm(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def adapter(model_folder: Path) -> Adapter:
    return Adapter("solver", _tiny_vlm.write_tiny_adapter(model_folder, model_folder.parent / "solver", seed=1))


@pytest.fixture(scope="session")
def other_adapter(model_folder: Path) -> Adapter:
    return Adapter("searcher", _tiny_vlm.write_tiny_adapter(model_folder, model_folder.parent / "searcher", seed=2))


@pytest.fixture(scope="session")
def pictures() -> list[Picture]:
    """Four pictures of three sizes."""
    sizes = [(112, 112), (112, 112), (140, 84), (56, 168)]
    return [Picture(f"p/{i}", _tiny_vlm.tiny_picture(i, *size)) for i, size in enumerate(sizes)]


@pytest.fixture(scope="session")
def loaded(model_folder: Path) -> tuple[Any, Any]:
    """The model and its processor, as the engine loads them."""
    import torch

    from tasks.engines.transformers import load

    torch.set_num_threads(1)
    return load(str(model_folder), "cpu", "float32")
