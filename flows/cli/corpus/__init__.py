"""`active-zero corpus ...`: one file a command."""

from __future__ import annotations

import typer

from flows.cli.corpus import add, audit, build, image, info, query

app = typer.Typer(help="Build a searchable corpus, and query it.", no_args_is_help=True)
for module in (build, add, info, query, image, audit):
    app.add_typer(module.app)
