"""`active-zero curriculum`: a round's questions as a table, JSON lines, Parquet or a page with their pictures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from flows.cli.console import note, say_table
from flows.cli.runs import existing_store, verdicts
from tasks.records import LabelledQuestion, to_table
from tasks.settings.errors import UserError
from tasks.store import Store

COLUMNS = ("domain", "text", "label", "agreement", "reason", "id")


def curriculum(
    run: str,
    number: int | None,
    everything: bool,
    form: str,
    out: Path | None,
    config: str,
    overrides: Sequence[str] = (),
) -> None:
    """Print or write the questions of a round; kept ones only, unless `everything`."""
    if form == "table" and out is not None:
        raise UserError("a table is for the eye: give --out with --format jsonl, parquet or html.")
    store = existing_store()
    number, judged = verdicts(store, run, number)
    chosen = [one for one in judged if everything or one.reason is None]
    if form == "table":
        records = [one.model_dump(include=set(COLUMNS)) for one in chosen]
        say_table(records, COLUMNS if everything else COLUMNS[:4], "No question was kept.")
        return
    match form:
        case "jsonl":
            write(out, jsonl(chosen))
        case "parquet":
            write(out, parquet(chosen))
        case _:
            write(out, html(f"Run {run}, round {number}: curriculum", chosen, store, config, overrides))


def jsonl(rows: Sequence[LabelledQuestion]) -> bytes:
    """One JSON object a line."""
    return "".join(f"{row.model_dump_json()}\n" for row in rows).encode()


def parquet(rows: Sequence[LabelledQuestion]) -> bytes:
    """A Parquet file of the rows' own columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(to_table(LabelledQuestion, list(rows)), sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def html(title: str, rows: Sequence[LabelledQuestion], store: Store, config: str, overrides: Sequence[str]) -> bytes:
    """The page, with pictures from the corpus that the settings name. Gold items have none there."""
    from tasks.config import load_config
    from tasks.corpus import open_corpus, place_of
    from tasks.reporting.page import page

    rows = [row for row in rows if row.target is None]
    library = open_corpus(place_of(store, load_config(config, overrides).corpus.at))
    pictures = library.pictures(list(dict.fromkeys(row.key for row in rows)))
    return page(title, rows, {picture.key: picture for picture in pictures}).encode()


def write(out: Path | None, data: bytes, option: str = "--out") -> None:
    """To a file, whole, or to standard output. UserError where the file that `option` names cannot be written."""
    if out is None:
        sys.stdout.buffer.write(data)
        return
    try:
        out.write_bytes(data)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}): give another {option}.") from None
    note(f"wrote {out}")
