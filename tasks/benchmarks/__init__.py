"""What a Solver is measured on. A published benchmark is one `Definition` in `published`; a reader is one file here.

A name such as `mathvista` is read from the folder that `ACTIVE_ZERO_BENCHMARKS` names (`benchmarks` in the working
folder if it names none): from `mathvista/`, which may hold the data set's parquet files, what `datasets` saved to disk,
or TSV files; or from VLMEvalKit's file (`MathVista_MINI.tsv`). Nothing is ever fetched.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import Field

from tasks.benchmarks.definition import PLAIN, Definition
from tasks.benchmarks.item import BenchmarkItem
from tasks.benchmarks.published import TWELVE
from tasks.benchmarks.table import TableBenchmark
from tasks.benchmarks.world import WorldBenchmark
from tasks.settings.errors import UserError
from tasks.world.heldout import ITEMS

BenchmarkConfig = Annotated[WorldBenchmark | TableBenchmark, Field(discriminator="kind")]

NAMED: dict[str, WorldBenchmark] = {
    f"world:{split}": WorldBenchmark(split=split, count=count) for split, count in ITEMS.items()
}
PUBLISHED: dict[str, Definition] = {one.name: one for one in TWELVE}
FOLDER = "ACTIVE_ZERO_BENCHMARKS"
FILES = (".tsv", ".parquet")


def open_benchmark(name: str) -> WorldBenchmark | TableBenchmark:
    """The benchmark of that name; or the file or folder at that path (`NAME=PATH` says which benchmark it holds).

    UserError, with where to put it, for one that is not there.
    """
    if name in NAMED:
        return NAMED[name]
    if name in PUBLISHED:
        return _published(PUBLISHED[name])
    defined, equals, path = name.partition("=")
    if equals and defined in PUBLISHED and Path(path).exists():
        return TableBenchmark(paths=(Path(path),), definition=PUBLISHED[defined])
    if Path(name).exists():
        return TableBenchmark(paths=(Path(name),), definition=definition_of(Path(name)))
    known, given = ", ".join([*NAMED, *PUBLISHED]), path or name
    if "/" in given or Path(given).suffix in FILES:
        raise UserError(f"benchmark file {given} does not exist: give one that does, or one of {known}.")
    raise UserError(f"benchmark {name} is neither a TSV file, a parquet file or a folder of them, nor one of {known}.")


def definition_of(path: Path) -> Definition:
    """The benchmark that a file is named after, as VLMEvalKit names its files; else the plain reading of any TSV."""
    bare = _bare(path.stem)
    named = [one for one in TWELVE if bare.startswith(_bare(one.name))]
    return max(named, key=lambda one: len(one.name), default=PLAIN)


def _published(definition: Definition) -> TableBenchmark:
    root = Path(os.environ.get(FOLDER) or "benchmarks")
    groups = [(root / definition.name,), *(tuple(root / file for file in files) for files in definition.files)]
    for paths in groups:
        if all(path.exists() for path in paths):
            return TableBenchmark(paths=paths, definition=definition)
    raise UserError(
        f"benchmark {definition.name} is not there: put VLMEvalKit's {' and '.join(definition.files[0])} into {root}, "
        f"or the data set {definition.repo} (split {definition.split}) into {root / definition.name}; {FOLDER} names "
        "the folder."
    )


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


__all__ = [
    "PUBLISHED",
    "BenchmarkConfig",
    "BenchmarkItem",
    "Definition",
    "TableBenchmark",
    "WorldBenchmark",
    "open_benchmark",
]
