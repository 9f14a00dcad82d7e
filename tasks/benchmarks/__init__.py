"""What a Solver is measured on. A new benchmark is one file here, one line in the union, and its name below."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

from pydantic import Field

from tasks.benchmarks.item import Item
from tasks.benchmarks.tsv import Tsv
from tasks.benchmarks.world import World
from tasks.errors import UserError
from tasks.world.heldout import Split

BenchmarkConfig = Annotated[World | Tsv, Field(discriminator="kind")]

NAMED: dict[str, World] = {f"world:{split}": World(split=split) for split in get_args(Split)}


def open_benchmark(name: str) -> World | Tsv:
    """The benchmark of that name, or the TSV file at that path. UserError if it is neither."""
    if name in NAMED:
        return NAMED[name]
    if Path(name).is_file():
        return Tsv(path=Path(name))
    raise UserError(f"benchmark {name} is neither a TSV file nor one of {', '.join(NAMED)}.")


__all__ = ["BenchmarkConfig", "Item", "Tsv", "World", "open_benchmark"]
