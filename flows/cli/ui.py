"""`active-zero ui`: the Prefect UI on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.console import print_line
from flows.cli.options import examples

app = typer.Typer()


@app.command(epilog=examples("active-zero ui", "active-zero ui --port 4300"))
def ui(port: Annotated[int, typer.Option(min=1024, max=65535, metavar="N", help="Port on loopback.")] = 4200) -> None:
    """Run the Prefect UI on this machine: server, worker and deployments, until Ctrl-C."""
    from flows.cli.runtime import log_folder
    from flows.cli.stores import check_writable
    from flows.server.ui import serve
    from tasks.store import Store

    check_writable(Store.from_environment(), "set ACTIVE_ZERO_STORE to a writable folder or address")
    serve(port, log_folder() / "ui.log", print_line)
