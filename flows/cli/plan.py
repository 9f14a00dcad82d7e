"""`active-zero plan`: a dry run of the next round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Annotated, Any

import typer

from flows.cli.console import print_json, print_line, print_table
from flows.cli.options import DEFAULT_CONFIG, Config, ForceFrom, Json, Overrides, examples

COLUMNS = ("stage", "where", "state", "why")

app = typer.Typer()


@app.command(
    epilog=examples(
        "active-zero plan",
        "active-zero plan --run mine --set filter.low=0.5",
        "active-zero plan --force-from 5-synthesize --json",
    )
)
def plan(
    config: Config = DEFAULT_CONFIG,
    run: Annotated[str, typer.Option(metavar="NAME", help="The run whose next round is planned.")] = "default",
    overrides: Overrides = None,
    force_from: ForceFrom = None,
    json: Json = False,
) -> None:
    """Print what `iterate` would do: each stage, whether it runs or is reused, and which setting or input is why."""
    number, records = plan_records(config, run, overrides or [], force_from)
    if json:
        print_json({"run": run, "round": number, "stages": records})
    else:
        print_line(f"Run {run}, round {number}")
        print_table(records, COLUMNS, "No stages.")


def plan_records(
    config: str, run: str, overrides: Sequence[str], force_from: str | None
) -> tuple[int, list[dict[str, Any]]]:
    """The number of the next round, and one record a stage; records of a corpus's shards are joined if they agree."""
    from flows.force import round_to_force
    from flows.history import read_history, start_of
    from flows.round import FOLDERS, play_round, round_place
    from tasks.config import load_config
    from tasks.execution.dry_run import NotYetComputed, dry_run
    from tasks.store import Store

    settings, store = load_config(config, overrides), Store.from_environment()
    number = round_to_force(store, run, force_from) if force_from else read_history(store, run).next_round
    force = (round_place(store, run, number).prefix, force_from) if force_from else None
    reason = ""
    with dry_run(force) as planned:
        try:
            play_round(settings, store, run, number, start_of(settings, store, run, number))
        except NotYetComputed as error:
            reason = str(error)
    records = [
        {
            "stage": stage.stage,
            "where": stage.place,
            "state": "played" if stage.will_run else "reused",
            "why": stage.why,
        }
        for stage in planned.stages
    ]
    unreached = [name for name in FOLDERS if name not in {stage.stage for stage in planned.stages}]
    where = round_place(store, run, number).prefix
    rest = [{"stage": name, "where": where, "state": "played", "why": reason} for name in unreached]
    return number, [*_joined(records), *rest]


def _joined(records: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The first of adjacent records that differ only in `where`, with the count of the others."""
    for _, group in groupby(records, key=lambda record: (record["stage"], record["state"], record["why"])):
        first, *more = group
        yield {**first, "where": f"{first['where']} and {len(more)} more"} if more else first
