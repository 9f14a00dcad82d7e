"""The rows of a benchmark as it lies on disk, in whichever layout.

- VLMEvalKit's TSV: a row an item; a short `image` is the `index` of the row whose picture it shares (their rule:
  at most 64 characters).
- Parquet files as a data set's repository on the Hugging Face hub holds them (`data/<split>-00000-of-00001.parquet`).
- A data set that `datasets` saved to disk: Arrow streams beside a `state.json`, a folder a split.

A folder may hold several files: all of them are read, in the order of their names.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tasks.settings.errors import UserError, first_line

REFERENCE = 64
"""A picture of at most so many characters is the index of another row (VLMEvalKit's rule)."""
PART = "file"
"""A column of every row: the split or file that it was read from."""
COMMON = frozenset({"data", "dev", "test", "train", "val", "validation"})
SUFFIXES = (".tsv", ".parquet", ".arrow")

TableRow = Mapping[str, Any]


def rows_of(path: Path) -> list[TableRow]:
    """All rows. UserError if there is no such file or folder, or it holds no table."""
    rows = [row for file in files_of(path) for row in _rows(file)]
    if not rows:
        raise UserError(f"benchmark {path} has no rows.")
    return rows


def files_of(path: Path) -> list[Path]:
    """The table itself, or all tables in a folder."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES)
    files = [file for file in files if not file.name.startswith("cache-")]  # what `datasets` keeps beside its data
    if not files:
        raise UserError(f"benchmark {path} holds no {', '.join(SUFFIXES)} file.")
    return files


def _rows(file: Path) -> Iterator[TableRow]:
    read = {".parquet": _parquet, ".arrow": _arrow}.get(file.suffix, _tsv)
    part = part_of(file)
    for row in read(file):
        yield {**row, PART: part}


def part_of(file: Path) -> str:
    """What a file's rows are a part of: its split, or where that is called as in every data set, its folder."""
    state, split = file.parent / "state.json", re.sub(r"-\d{5}-of-\d{5}$", "", file.stem)
    if file.suffix == ".arrow" and state.is_file():
        split = str(json.loads(state.read_text()).get("_split") or "data")
    names = (split, file.parent.name, file.parent.parent.name)
    return next((name for name in names if name not in COMMON), split)


def _tsv(file: Path) -> list[dict[str, Any]]:
    csv.field_size_limit(sys.maxsize)  # a picture is one field of up to megabytes
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            table = csv.DictReader(lines, delimiter="\t")
            rows = [{name: value or "" for name, value in row.items() if name} for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"benchmark {file} cannot be read ({error}): give a TSV file as VLMEvalKit writes it."
        ) from None
    return _with_shared_pictures(rows)


def _with_shared_pictures(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    images = {row.get("index"): row.get("image") for row in rows}
    for row in rows:
        image = (row.get("image") or "").strip()
        if 0 < len(image) <= REFERENCE and image in images:
            row["image"] = images[image]
    return rows


def _parquet(file: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    return _batches(file, lambda: pq.ParquetFile(file).iter_batches(batch_size=64))


def _arrow(file: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa

    return _batches(file, lambda: pa.ipc.open_stream(pa.memory_map(str(file))))


def _batches(file: Path, read: Any) -> Iterator[dict[str, Any]]:
    import pyarrow as pa

    try:
        for batch in read():
            yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"benchmark {file} cannot be read ({first_line(error)}): fetch it again.") from None
