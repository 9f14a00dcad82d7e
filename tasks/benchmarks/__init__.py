"""Benchmarks: the items on which a Solver is scored.

`open_benchmark` finds one by name or path. A published benchmark is one entry in `published`; another kind of source is
one file that follows the protocol `Benchmark`, and one arm of the union below.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

from pydantic import Field

from tasks.benchmarks.benchmark import Benchmark
from tasks.benchmarks.definition import Definition
from tasks.benchmarks.item import BenchmarkItem
from tasks.benchmarks.published import PUBLISHED
from tasks.benchmarks.rows import SUFFIXES
from tasks.benchmarks.table import TableBenchmark
from tasks.benchmarks.world import WorldBenchmark
from tasks.settings.errors import UserError

BenchmarkConfig = Annotated[WorldBenchmark | TableBenchmark, Field(discriminator="kind")]
"""Any kind of benchmark. Names are tried in this order; `TableBenchmark` takes any existing path, so it is the last."""

_KINDS = get_args(get_args(BenchmarkConfig)[0])


def open_benchmark(name: str) -> BenchmarkConfig:
    """The benchmark of that name, or the file or folder at that path (`NAME=PATH` reads a path as benchmark NAME).

    UserError for an unknown name, and for files that are missing.
    """
    for kind in _KINDS:
        found: BenchmarkConfig | None = kind.named(name)
        if found is not None:
            return found
    known, path = ", ".join(known for kind in _KINDS for known in kind.names()), name.rpartition("=")[2]
    if "/" in path or Path(path).suffix in SUFFIXES:
        raise UserError(f"benchmark file {path} does not exist: give an existing file, or one of {known}.")
    raise UserError(f"benchmark {name} is neither a TSV file, a parquet file or a folder of them, nor one of {known}.")


__all__ = [
    "PUBLISHED",
    "Benchmark",
    "BenchmarkConfig",
    "BenchmarkItem",
    "Definition",
    "TableBenchmark",
    "WorldBenchmark",
    "open_benchmark",
]
