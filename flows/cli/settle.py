"""`active-zero settle`: what a bad night has left at the Prefect server."""

from __future__ import annotations

import typer

from flows.cli.console import print_line
from flows.cli.options import examples

app = typer.Typer()


@app.command(
    epilog=examples(
        "active-zero settle",
        "active-zero settle && prefect worker start --pool active-zero --type process",
    )
)
def settle() -> None:
    """End runs whose process is gone, free their slots, and shorten the queue at the Prefect server (PREFECT_API_URL).

    `ui` does so by itself; elsewhere call it before a worker starts. Runs of another machine count as gone after two
    minutes without a heartbeat.
    """
    from flows.server.api import Api
    from flows.server.deploy import server_url
    from flows.server.queue import tidy_queue
    from flows.server.settle import settle

    api = Api(server_url())
    lines = [*settle(api), *tidy_queue(api)]
    for line in lines or ["nothing to settle"]:
        print_line(line)
