"""`active-zero curriculum`: a round's questions as a table, JSON lines, Parquet, or a page with pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flows.cli.console import print_table, write_file
from flows.cli.options import DEFAULT_CONFIG, Overrides, examples
from tasks.settings.errors import UserError

if TYPE_CHECKING:
    from tasks.records import LabelledQuestion
    from tasks.store import Store

COLUMNS = ("domain", "text", "label", "agreement", "reason", "id")

app = typer.Typer()


@app.command(
    epilog=examples(
        "active-zero curriculum default --round 1",
        "active-zero curriculum default --round 1 --all --format html --out curriculum.html",
    )
)
def curriculum(
    run: Annotated[str, typer.Argument(metavar="RUN")],
    number: Annotated[
        int | None, typer.Option("--round", metavar="N", help="By default the last filtered one.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Rejected questions too, with their reasons.")] = False,
    form: Annotated[Literal["table", "jsonl", "parquet", "html"], typer.Option("--format")] = "table",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="F", help="Write to this file instead of standard output.")
    ] = None,
    config: Annotated[
        str, typer.Option(metavar="F", help="The config that names the corpus with the pictures (html only).")
    ] = DEFAULT_CONFIG,
    overrides: Overrides = None,
) -> None:
    """Print or write the questions that trained the Solver in a round: text, label, agreement."""
    from flows.cli.stores import existing_store
    from flows.pages.rounds import page_of_questions
    from tasks.config import load_config

    if form == "table" and out is not None:
        raise UserError("a table goes to the terminal: give --out with --format jsonl, parquet or html.")
    store = existing_store()
    with store.snapshot(run):
        number, questions = labelled_questions(store, run, number)
    chosen = [question for question in questions if everything or question.reason is None]
    match form:
        case "table":
            records = [question.model_dump(include=set(COLUMNS)) for question in chosen]
            print_table(records, COLUMNS if everything else COLUMNS[:4], "No question was kept.")
        case "jsonl":
            write_file(out, _jsonl(chosen))
        case "parquet":
            write_file(out, _parquet(chosen))
        case "html":
            at = load_config(config, overrides or []).corpus.at
            write_file(out, page_of_questions(store, run, number, at, everything).encode())


def labelled_questions(store: Store, run: str, number: int | None) -> tuple[int, list[LabelledQuestion]]:
    """A round's number and its labelled questions; by default of the last round whose filter is complete."""
    from flows.round import round_place
    from tasks.filter import filter_questions
    from tasks.records import LabelledQuestion

    if number is None:
        number = _last_filtered(store, run)
    store.check_round(run, number)
    place = round_place(store, run, number)
    artifact = place.find(filter_questions.name, LabelledQuestion)
    if artifact is None:
        uri = place.uri(filter_questions.name)
        raise UserError(f"{uri} is not complete: resume with `active-zero iterate --run {run}`.")
    return number, artifact.read()


def _last_filtered(store: Store, run: str) -> int:
    from flows.round import round_place
    from tasks.filter import filter_questions

    for number in reversed(store.rounds(run)):
        if round_place(store, run, number).manifest(filter_questions.name) is not None:
            return number
    raise UserError(f"Run {run!r} has no curriculum yet: resume with `active-zero iterate --run {run}`.")


def _jsonl(rows: Sequence[LabelledQuestion]) -> bytes:
    """One JSON object a line."""
    return "".join(f"{row.model_dump_json()}\n" for row in rows).encode()


def _parquet(rows: Sequence[LabelledQuestion]) -> bytes:
    """A Parquet file of the rows' own columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tasks.records import LabelledQuestion, to_table

    sink = pa.BufferOutputStream()
    pq.write_table(to_table(LabelledQuestion, list(rows)), sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data
