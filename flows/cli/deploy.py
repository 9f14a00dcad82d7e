"""`active-zero deploy`: register everything at the Prefect server."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.console import print_line
from flows.cli.options import examples

app = typer.Typer()


@app.command(
    epilog=examples(
        "active-zero deploy",
        "PREFECT_API_URL=http://prefect:4200/api active-zero deploy",
        "ACTIVE_ZERO_CLUSTER=h100 active-zero deploy --gpus 8",
    )
)
def deploy(
    gpus: Annotated[
        int | None,
        typer.Option(min=1, help="Slots of the limit on GPUs, of the cluster ACTIVE_ZERO_CLUSTER if it is set."),
    ] = None,
) -> None:
    """Register work pool, GPU limit, deployments and automation at the Prefect server (PREFECT_API_URL)."""
    from flows.server.deploy import register

    print_line(register(gpus))
