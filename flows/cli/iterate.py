"""`active-zero iterate`: check the input, play rounds, and print the result of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.console import print_line
from flows.cli.options import DEFAULT_CONFIG, Config, ForceFrom, Overrides, Verbose, examples
from flows.cli.session import session_of

if TYPE_CHECKING:
    from flows.round import Round
    from tasks.reporting.facts import LabelAccuracy
    from tasks.store import Artifact

app = typer.Typer()


@app.command(
    epilog=examples(
        "active-zero iterate",
        "active-zero iterate --run mine --rounds 3 --set filter.low=0.5",
        "active-zero iterate --config qwen2.5-vl-7b --set corpus.at=s3://bucket/corpora/web",
    )
)
def iterate(
    context: typer.Context,
    config: Config = DEFAULT_CONFIG,
    run: Annotated[str, typer.Option(metavar="NAME", help="The run to start or to resume.")] = "default",
    rounds: Annotated[int, typer.Option(min=1, metavar="N", help="How many rounds at most.")] = 1,
    overrides: Overrides = None,
    force_from: ForceFrom = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait while another process plays the round.")] = False,
    verbose: Verbose = False,
) -> None:
    """Play the next rounds of a run; complete stages are reused."""
    from flows.cli.runtime import working

    _check(config, run, overrides or [], force_from, wait)
    with working(session_of(context), "iterate", preload="flows.selfplay"):
        from flows.cli.local_runs import run_flow
        from flows.selfplay import play_rounds

        played = run_flow(play_rounds, run, rounds, config, tuple(overrides or []), force_from, wait)
    for complete in played:
        for line in last_lines(complete):
            print_line(line)


def _check(config: str, run: str, overrides: Sequence[str], force_from: str | None, wait: bool) -> None:
    """UserError for any wrong input that can be found before the work starts."""
    from flows.cli.stores import check_writable
    from flows.history import read_history
    from flows.round import round_place
    from tasks.config import load_config
    from tasks.players.weights import base_model
    from tasks.store import Store
    from tasks.store.acquire import refuse_if_held

    settings, store = load_config(config, overrides), Store.from_environment()
    check_writable(store, "set ACTIVE_ZERO_STORE to a writable folder or address")
    round_place(store, run, 1)  # raises for a name that the store does not allow
    base_model(settings.model)
    if force_from is not None:
        from flows.force import round_to_force

        round_to_force(store, run, force_from)
    if not wait:
        refuse_if_held(round_place(store, run, read_history(store, run).next_round).journal)


def last_lines(played: Round) -> list[str]:
    """The printed result of a round: its summary, and the path of its report."""
    summary = played.report.file("summary.txt").read_text().splitlines()
    return ["", f"Run {played.run}, round {played.number}", *summary, f"report: {_address(played.report)}"]


def _address(report: Artifact[LabelAccuracy]) -> str:
    """The report's URL; a plain path where the store is on this disk."""
    return f"{report.uri}/{report.manifest.attempt}/report.md".removeprefix("file://")
