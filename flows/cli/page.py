"""`active-zero page`: the page of a round, as a folder that opens in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.console import print_line
from flows.cli.options import examples

app = typer.Typer()


@app.command(
    epilog=examples(
        "active-zero page default --round 1",
        "active-zero page default --round 1 --to clocks",
    )
)
def page(
    run: Annotated[str, typer.Argument(metavar="RUN")],
    number: Annotated[
        int | None, typer.Option("--round", metavar="N", help="By default the last one that has a pool.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", help="By default pages/RUN/round-N in the working folder.")
    ] = None,
    corpus: Annotated[
        str | None, typer.Option("--corpus", metavar="URI", help="The round's corpus, if it is not in the store.")
    ] = None,
) -> None:
    """Write the page of a round from its artifacts: every question with its picture, and what became of it."""
    from flows.cli.stores import existing_store
    from flows.pages.folders import replace_folder
    from flows.pages.rounds import last_round, page_of_round
    from tasks.reporting.round_page import page_files

    store = existing_store()
    number = last_round(store, run) if number is None else number
    files = page_files(page_of_round(store, run, number, corpus))
    folder = to or Path("pages") / run / f"round-{number:03d}"
    replace_folder(folder, files)
    print_line(str(folder / "index.html"))
