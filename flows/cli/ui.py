"""`active-zero ui`: the Prefect UI on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.console import print_line
from flows.cli.options import examples

app = typer.Typer()


Port = Annotated[int, typer.Option(min=1024, max=65535, metavar="N", help="Port on loopback.")]
PagesPort = Annotated[
    int | None,
    typer.Option("--pages-port", min=1024, max=65535, metavar="N", help="Port of the pages; by default the next one."),
]


@app.command(epilog=examples("active-zero ui", "active-zero ui --port 4300", "active-zero ui --store-only"))
def ui(
    port: Port = 4200,
    pages_port: PagesPort = None,
    store_only: Annotated[bool, typer.Option("--store-only", help="Serve the pages alone, without Prefect.")] = False,
) -> None:
    """Run the Prefect UI on this machine: server, worker and deployments; and the store's pages. Until Ctrl-C."""
    from flows.cli.runtime import log_folder
    from flows.cli.stores import check_writable
    from flows.server.ui import serve
    from tasks.store import Store

    pages = pages_port or min(port + 1, 65535)
    if store_only:
        from flows.pages.server import serve_pages

        serve_pages(Store.from_environment(), pages, print_line)
        return
    check_writable(Store.from_environment(), "set ACTIVE_ZERO_STORE to a writable folder or address")
    serve(port, pages, log_folder() / "ui.log", print_line)
