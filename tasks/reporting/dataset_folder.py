"""A round's questions for other programs: a folder for Hugging Face `datasets`, and VLMEvalKit's TSV.

    from datasets import load_dataset
    load_dataset(FOLDER)["train"]        # the questions that trained the Solver; "rejected": the others, with reasons

The pictures are inside the Parquet files, as `datasets` stores them.
"""

from __future__ import annotations

import base64
import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.records import LabelledQuestion
from tasks.records.picture import Picture
from tasks.reporting.cards import TRAINED
from tasks.reporting.round_page import RoundPage

SPLITS = ("train", "rejected")
ROWS = 256
"""Rows that are written together: their pictures are in memory."""
TSV = "vlmevalkit.tsv"


def write_dataset(page: RoundPage, folder: Path) -> dict[str, int]:
    """Write both splits and the TSV into a folder that exists. Returns the number of rows by split.

    Questions whose picture cannot be read are left out, and so are gold items: they belong to their benchmark.
    """
    labelled = [row for row in page.labelled if row.target is None and row.key in page.pictures]
    splits = dict(
        zip(SPLITS, ([row for row in labelled if (row.reason is None) is kept] for kept in (True, False)), strict=True)
    )
    for split, rows in splits.items():
        _write_parquet(page, rows, folder / "data" / f"{split}.parquet")
    _write_tsv(splits["train"], page.pictures, folder / TSV)
    return {split: len(rows) for split, rows in splits.items()}


def _write_parquet(page: RoundPage, rows: Sequence[LabelledQuestion], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _features().arrow_schema
    found = {row.key: row for row in page.results if row.reason is None}
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, len(rows), ROWS):
            records = [_record(page, row, found.get(row.key)) for row in rows[start : start + ROWS]]
            writer.write_table(pa.Table.from_pylist(records, schema=schema))


def _features() -> Any:
    """The columns; their schema tells `datasets` that `image` holds pictures."""
    from datasets import Features, Image, List, Value

    text, number, whole, flag = (Value(name) for name in ("string", "float64", "int64", "bool"))
    return Features(
        {
            "id": text, "image": Image(), "question": text, "label": text, "answers": List(text), "agreement": number,
            "outcome": text, "kind": text, "domain": text, "true_answer": text, "label_is_right": flag,
            "picture_key": text, "query": text, "rank": whole, "score": number, "run": text, "round": whole,
        }
    )  # fmt: skip


def _record(page: RoundPage, row: LabelledQuestion, found: Any) -> dict[str, Any]:
    kind, data = page.pictures[row.key].portable
    verdict = page.verdicts.get(row.id)
    return {
        "id": row.id,
        "image": {"bytes": data, "path": f"{row.key.replace('/', '-')}.{kind.removeprefix('image/')}"},
        "question": row.text,
        "label": row.label,
        "answers": list(row.answers),
        "agreement": row.agreement,
        "outcome": row.reason or TRAINED,
        "kind": row.kind,
        "domain": row.domain,
        "true_answer": verdict.truth if verdict else None,
        "label_is_right": verdict.right if verdict else None,
        "picture_key": row.key,
        "query": found.query if found else None,
        "rank": found.rank if found else None,
        "score": found.score if found else None,
        "run": page.run,
        "round": page.number,
    }


def _write_tsv(rows: Sequence[LabelledQuestion], pictures: Mapping[str, Picture], path: Path) -> None:
    """VLMEvalKit's columns; `answer` is the pseudo-label."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["index", "image", "question", "answer", "category"])
        writer.writerows(_tsv_rows(rows, pictures))


def _tsv_rows(rows: Sequence[LabelledQuestion], pictures: Mapping[str, Picture]) -> Iterator[list[object]]:
    for number, row in enumerate(rows):
        picture = base64.b64encode(pictures[row.key].portable[1]).decode()
        yield [number, picture, row.text, row.label, row.domain]
