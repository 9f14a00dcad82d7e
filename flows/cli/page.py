"""`active-zero page`: the page of a round or of a whole run, as a folder that opens in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.console import print_line
from flows.cli.options import examples
from tasks.settings.errors import UserError

app = typer.Typer()


@app.command(
    epilog=examples(
        "active-zero page default --round 1",
        "active-zero page default --to for-a-colleague",
    )
)
def page(
    run: Annotated[str, typer.Argument(metavar="RUN")],
    number: Annotated[
        int | None,
        typer.Option("--round", metavar="N", help="Only this round; by default all of the run."),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FOLDER", help="By default pages/RUN or pages/RUN-round-N."),
    ] = None,
    corpus: Annotated[
        str | None, typer.Option("--corpus", metavar="URI", help="The round's corpus, if it is not in the store.")
    ] = None,
) -> None:
    """Write the page of a round: every question with its picture, and what became of it; or of a run: its rounds side
    by side, the map of its frontier, and the pages of all rounds."""
    from flows.cli.stores import existing_store
    from flows.pages.folders import replace_folder
    from flows.pages.rounds import page_of_round
    from flows.pages.runs import files_of_run
    from tasks.reporting.page_files import files_of
    from tasks.reporting.round_page import page_files

    if number is None and corpus is not None:
        raise UserError("--corpus is for one round: give --round N too.")
    store = existing_store()
    if number is None:
        files, folder = files_of_run(store, run), to or Path("pages") / run
    else:
        files = dict(files_of(page_files(page_of_round(store, run, number, corpus))))
        folder = to or Path("pages") / f"{run}-round-{number:03d}"
    replace_folder(folder, files)
    print_line(str(folder / "index.html"))
