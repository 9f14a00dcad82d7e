"""`active-zero export`: a round's questions as a data set, and its trained players."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.console import print_line
from flows.cli.options import examples

app = typer.Typer()


@app.command(
    epilog=examples(
        "active-zero export default --round 1 --to questions",
        "active-zero export default --round 1 --to round-1 --players --base-model Qwen/Qwen2.5-VL-3B-Instruct",
    )
)
def export(
    run: Annotated[str, typer.Argument(metavar="RUN")],
    number: Annotated[int, typer.Option("--round", metavar="N")],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="A folder that is new or empty.")],
    corpus: Annotated[
        str | None, typer.Option("--corpus", metavar="URI", help="The round's corpus, if it is not in the store.")
    ] = None,
    players: Annotated[bool, typer.Option("--players", help="The trained weights too, with a card each.")] = False,
    base_model: Annotated[
        str | None, typer.Option("--base-model", metavar="NAME", help="How the cards name the base model.")
    ] = None,
) -> None:
    """Write a round's questions for Hugging Face datasets and VLMEvalKit: pictures, labels, answers, provenance."""
    from flows.cli.stores import existing_store
    from flows.pages.export import Export, write_export

    rows = write_export(existing_store(), Export(run, number, corpus, base_model, players), to)
    for split, count in rows.items():
        print_line(f"{split}: {count} questions")
    print_line(str(to / "README.md"))
