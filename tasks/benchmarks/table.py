"""Benchmarks in table files: any of the published ones, and any other TSV, parquet or saved `datasets` folder.

The folder `ACTIVE_ZERO_BENCHMARKS` (default: `benchmarks` in the working folder) holds the published benchmarks. The
name `mathvista` is looked for as the folder `mathvista/` in it (parquet files of the data set, a data set saved to disk
by `datasets`, or TSV files), then as VLMEvalKit's file (`MathVista_MINI.tsv`). Nothing is downloaded.
"""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import Field

from tasks.benchmarks.definition import GENERIC, Definition
from tasks.benchmarks.item import BenchmarkItem, BenchmarkRows, RejectedRow
from tasks.benchmarks.metrics import Metric
from tasks.benchmarks.published import PUBLISHED
from tasks.benchmarks.reader import NO_PICTURE, ItemReader
from tasks.benchmarks.rows import read_rows
from tasks.settings.base import Settings
from tasks.settings.errors import UserError, some

FOLDER_VARIABLE = "ACTIVE_ZERO_BENCHMARKS"

log = logging.getLogger(__name__)


class TableBenchmark(Settings):
    """TSV or parquet files, or folders of them."""

    kind: Literal["table"] = "table"
    paths: tuple[Path, ...] = Field(min_length=1)
    """Files and folders, fingerprinted by their contents."""
    definition: Definition = GENERIC

    @classmethod
    def names(cls) -> Sequence[str]:
        """The published benchmarks."""
        return list(PUBLISHED)

    @classmethod
    def named(cls, name: str) -> Self | None:
        """A published benchmark by name, the file or folder at a path, or `NAME=PATH`:

        a path read as benchmark NAME.
        """
        if name in PUBLISHED:
            definition = PUBLISHED[name]
            return cls(paths=_published_paths(definition), definition=definition)
        published, _, path = name.partition("=")
        if published in PUBLISHED and path and Path(path).exists():
            return cls(paths=(Path(path),), definition=PUBLISHED[published])
        return cls(paths=(Path(name),), definition=_definition_for(Path(name))) if Path(name).exists() else None

    @property
    def metric(self) -> Metric:
        """The metric of the definition."""
        return self.definition.metric

    def read(self) -> BenchmarkRows:
        """The items of all rows, and the rows that cannot be asked. UserError if a file does not fit the definition.

        Rows without a picture are left out, as in VLMEvalKit (HallusionBench has 178 such rows).
        """
        parts = [self._read(path) for path in self.paths]
        items = [item for part in parts for item in part.items]
        if repeated := [id for id, count in Counter(item.id for item in items).items() if count > 1]:
            raise UserError(
                f"benchmark {self.paths[0]} has {len(repeated)} ids more than once, such as {repeated[0]}: ids must be "
                "unique."
            )
        return BenchmarkRows(items, [rejected for part in parts for rejected in part.rejected])

    def _read(self, path: Path) -> BenchmarkRows:
        reader = ItemReader(self.definition, path)
        rows = [row for row in read_rows(path, self.definition.splits) if reader.keeps(row)]
        read = [reader.item(row, number) for number, row in enumerate(rows)]
        items = [row for row in read if isinstance(row, BenchmarkItem)]
        rejected = [row for row in read if isinstance(row, RejectedRow)]
        strange = [row for row in rejected if row.reason != NO_PICTURE]
        if len(strange) > self.definition.max_rejected * len(rows):
            raise UserError(
                f"benchmark {path}: {len(strange)} of {len(rows)} rows cannot be asked, more than a share of"
                f" {self.definition.max_rejected:g}: index {strange[0].id}: {strange[0].reason}."
            )
        if not items:
            raise UserError(f"benchmark {path} has no rows with a picture.")
        for kind, count in Counter(row.kind for row in rejected).items():
            names = some([row.id for row in rejected if row.kind == kind])
            log.warning("%s: %d of %d rows are left out: %s: index %s", path.name, count, len(rows), kind, names)
        return BenchmarkRows(items, rejected)


def _published_paths(definition: Definition) -> tuple[Path, ...]:
    """Where a published benchmark's files are. UserError, with the files to supply, if there are none."""
    root = Path(os.environ.get(FOLDER_VARIABLE) or "benchmarks")
    groups = [(root / definition.name,), *(tuple(root / file for file in files) for files in definition.files)]
    for paths in groups:
        if all(path.exists() for path in paths):
            return paths
    raise UserError(
        f"benchmark {definition.name} is missing: put VLMEvalKit's {' and '.join(definition.files[0])} into {root}, "
        f"or the data set {definition.repo} (split {definition.split}) into {root / definition.name}; "
        f"{FOLDER_VARIABLE} names the folder."
    )


def _definition_for(path: Path) -> Definition:
    """The published benchmark whose name the file's name begins with, as in VLMEvalKit; otherwise the generic one."""
    file_name = _letters_and_digits(path.stem)
    matching = [each for each in PUBLISHED.values() if file_name.startswith(_letters_and_digits(each.name))]
    return max(matching, key=lambda definition: len(definition.name), default=GENERIC)


def _letters_and_digits(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
