"""`active-zero runs`: the runs in the store."""

from __future__ import annotations

import typer

from flows.cli.console import print_records
from flows.cli.options import Json, examples

COLUMNS = ("run", "rounds", "promoted", "team", "accuracy", "state")

app = typer.Typer()


@app.command(epilog=examples("active-zero runs", "active-zero runs --json"))
def runs(json: Json = False) -> None:
    """List the runs in the store: rounds, promoted rounds, and what comes next."""
    from flows.cli.stores import existing_store
    from flows.pages.summaries import run_summaries

    print_records(run_summaries(existing_store()), COLUMNS, "No runs yet.", json)
