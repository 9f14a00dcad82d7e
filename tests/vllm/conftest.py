"""A tiny model that vLLM's kernels support, and an adapter for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.engines.request import Adapter
from tests.fixtures.tiny_vlm import TinyShape, write_tiny_adapter, write_tiny_vlm


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Head size 32: the smallest that vLLM's attention kernels support."""
    return write_tiny_vlm(tmp_path_factory.mktemp("tiny") / "model", TinyShape(hidden=128, heads=4, intermediate=256))


@pytest.fixture(scope="session")
def adapter(folder: Path) -> Adapter:
    return Adapter("solver-1", write_tiny_adapter(folder, folder.parent / "solver", rank=8))
