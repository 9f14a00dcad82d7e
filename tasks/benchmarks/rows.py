"""Read a benchmark's rows from disk, in any of three layouts.

- VLMEvalKit's TSV, one row an item. An `image` of at most 64 characters is the `index` of another row, whose picture is
  used (VLMEvalKit's rule).
- Parquet files as in a data set's repository on the Hugging Face hub (`data/<split>-00000-of-00001.parquet`).
- A data set saved to disk by `datasets`: Arrow streams beside a `state.json`, one folder a split.

If a folder holds several files, all of them are read, in the order of their names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.settings.errors import UserError, first_line

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

LONGEST_REFERENCE = 64
"""An `image` of at most so many characters is the index of another row."""
FILE_COLUMN = "file"
"""A column added to every row: the split or file that the row was read from."""
GENERIC_NAMES = frozenset({"data", "dev", "test", "train", "val", "validation"})
SUFFIXES = (".tsv", ".parquet", ".arrow")

TableRow = Mapping[str, Any]


def read_rows(path: Path, splits: Sequence[str] = ()) -> list[TableRow]:
    """All rows of a file, or of a folder's files; of a folder with other splits, too, only those of `splits`.

    UserError if there is no such file or folder, or no row in it.
    """
    files = table_files(path)
    scored = [file for file in files if any(fnmatch(_raw_split(file), split) for split in splits)]
    rows = [row for file in scored or files for row in _rows_of_file(file)]
    if not rows:
        raise UserError(f"benchmark {path} has no rows.")
    return rows


def table_files(path: Path) -> list[Path]:
    """The file itself, or all table files in a folder."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES)
    files = [file for file in files if not file.name.startswith("cache-")]  # cache files of `datasets`
    if not files:
        raise UserError(f"benchmark {path} holds no {', '.join(SUFFIXES)} file.")
    return files


def _rows_of_file(file: Path) -> Iterator[TableRow]:
    read = {".parquet": _read_parquet, ".arrow": _read_arrow}.get(file.suffix, _read_tsv)
    split = split_name(file)
    for row in read(file):
        yield {**row, FILE_COLUMN: split}


def split_name(file: Path) -> str:
    """The split that a file belongs to; the name of its folder where the split's name is generic (`test`)."""
    split = _raw_split(file)
    names = (split, file.parent.name, file.parent.parent.name)
    return next((name for name in names if name not in GENERIC_NAMES), split)


def _raw_split(file: Path) -> str:
    state, split = file.parent / "state.json", re.sub(r"-\d{5}-of-\d{5}$", "", file.stem)
    if file.suffix == ".arrow" and state.is_file():
        split = str(json.loads(state.read_text()).get("_split") or "data")
    return split


def _read_tsv(file: Path) -> Iterator[dict[str, Any]]:
    """All cells as text: `007` keeps its zeros, `None` and `NA` are answers, an empty cell is an empty text.

    Cells beyond the header's columns are ignored.
    """
    import pandas as pd

    try:
        frame = pd.read_csv(
            file,
            sep="\t",
            dtype=str,
            na_filter=False,
            index_col=False,
            usecols=lambda _: True,  # all columns; without it, one row with a cell too many refuses the file
            encoding="utf-8-sig",
        )
    except (OSError, ValueError) as error:  # pandas' parser errors and decoding errors are ValueErrors
        raise UserError(
            f"benchmark {file} cannot be read ({first_line(error)}): give a TSV file as VLMEvalKit writes it."
        ) from None
    names = list(frame.columns)
    cells = _with_shared_pictures(frame).itertuples(index=False, name=None)
    return (dict(zip(names, row, strict=True)) for row in cells)


def _with_shared_pictures(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with references to other rows' pictures replaced by the pictures."""
    if not {"index", "image"} <= {*frame.columns}:
        return frame
    pictures = dict(zip(frame["index"], frame["image"], strict=True))
    references = frame["image"].str.strip()
    shared = references.str.len().between(1, LONGEST_REFERENCE) & references.isin(list(pictures))
    return frame.assign(image=frame["image"].mask(shared, references.map(pictures)))


def _read_parquet(file: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    return _rows_of_batches(file, lambda: pq.ParquetFile(file).iter_batches(batch_size=64))


def _read_arrow(file: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa

    return _rows_of_batches(file, lambda: pa.ipc.open_stream(pa.memory_map(str(file))))


def _rows_of_batches(file: Path, batches: Callable[[], Iterator[pa.RecordBatch]]) -> Iterator[dict[str, Any]]:
    import pyarrow as pa

    try:
        for batch in batches():
            yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"benchmark {file} cannot be read ({first_line(error)}): fetch it again.") from None
