"""`active-zero plan`: a dry run of the next round: what it would play, on which cards, and for how long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.console import print_json, print_line, print_table
from flows.cli.options import DEFAULT_CONFIG, Config, ForceFrom, Gpus, Json, Overrides, examples

if TYPE_CHECKING:
    from tasks.config import RunConfig
    from tasks.execution.dry_run import DryRun

COLUMNS = ("stage", "where", "state", "why")

app = typer.Typer()

RatesFile = Annotated[
    str | None, typer.Option("--rates", metavar="F", help="Rates of a card: a file, or a name in configs/. Adds hours.")
]


@dataclass(frozen=True)
class PlannedRound:
    """A dry run of the next round."""

    number: int
    stages: list[dict[str, Any]]
    """One record a stage; those of a corpus's shards are joined if they agree."""
    played: dict[str, int]
    """How often each stage with models would run; an evaluation once for each team."""


@app.command(
    epilog=examples(
        "active-zero plan",
        "active-zero plan --run mine --set filter.low=0.5",
        "active-zero plan --force-from 5-synthesize --json",
        "active-zero plan --config paper --gpus 8 --rates rates-h100",
    )
)
def plan(
    config: Config = DEFAULT_CONFIG,
    run: Annotated[str, typer.Option(metavar="NAME", help="The run whose next round is planned.")] = "default",
    overrides: Overrides = None,
    force_from: ForceFrom = None,
    gpus: Gpus = None,
    rates: RatesFile = None,
    json: Json = False,
) -> None:
    """Print what `iterate` would do: each stage, whether it runs or is reused and why, on which cards, for how long.

    With --rates, a round whose files are not on this machine is counted as a whole.
    """
    from flows.cli.plan_work import print_work, work_of_round
    from tasks.config import load_config
    from tasks.estimates.rates import load_rates

    settings, measured = load_config(config, overrides or []), None if rates is None else load_rates(rates)
    may_be_whole = measured is not None and force_from is None
    planned = _plan_or_whole(settings, run) if may_be_whole else plan_round(settings, run, force_from)
    work = work_of_round(settings, planned.played, gpus, measured)
    if json:
        print_json({"run": run, "round": planned.number, "stages": planned.stages, "work": work})
        return
    print_line(f"Run {run}, round {planned.number}")
    print_table(planned.stages, COLUMNS, "No stages.")
    print_work(work)


def _plan_or_whole(settings: RunConfig, run: str) -> PlannedRound:
    """The next round's stages; where something that it reads is missing here, all stages of a first round, with why."""
    from flows.round import FOLDERS, STAGES
    from tasks.settings.errors import UserError

    try:
        return plan_round(settings, run, None)
    except UserError as error:
        records = [{"stage": name, "where": "", "state": "played", "why": str(error)} for name in FOLDERS]
        return PlannedRound(1, records, {name: 2 if name == "evaluate" else 1 for name in STAGES})


def plan_round(settings: RunConfig, run: str, force_from: str | None) -> PlannedRound:
    """The next round's stages, as far as they can be known without playing any."""
    from flows.force import round_to_force
    from flows.history import read_history, start_of
    from flows.round import FOLDERS, play_round, round_place
    from tasks.evaluate import evaluate_solver
    from tasks.execution.dry_run import NotYetComputed, dry_run
    from tasks.store import Store

    store = Store.from_environment()
    number = round_to_force(store, run, force_from) if force_from else read_history(store, run).next_round
    force = (round_place(store, run, number).prefix, force_from) if force_from else None
    start = start_of(settings, store, run, number)
    reason = ""
    with dry_run(force) as planned:
        try:
            play_round(settings, store, run, number, start)
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
    before = {round_place(store, run, earlier) for earlier in (0, start.team_round)}
    missing = sum(place.manifest(evaluate_solver.name) is None for place in before)
    return PlannedRound(number, [*_joined(records), *rest], _played(planned, unreached, missing + 1))


def _played(planned: DryRun, unreached: Sequence[str], teams: int) -> dict[str, int]:
    """How often each stage of the round would run, by its name. `teams`: those to evaluate if that is not reached."""
    from flows.round import FOLDERS, STAGES

    counts = {}
    for folder, name in zip(FOLDERS, STAGES, strict=True):
        places = {stage.place for stage in planned.stages if stage.stage == folder and stage.will_run}
        counts[name] = (teams if name == "evaluate" else 1) if folder in unreached else len(places)
    return counts


def _joined(records: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The first of adjacent records that differ only in `where`, with the count of the others."""
    for _, group in groupby(records, key=lambda record: (record["stage"], record["state"], record["why"])):
        first, *more = group
        yield {**first, "where": f"{first['where']} and {len(more)} more"} if more else first
