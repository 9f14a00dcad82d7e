"""The second part of `active-zero plan`: what the stages ask of the models, on which cards, and for how long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flows.cli.console import print_line, print_table
from flows.cli.doctor_memory import model_shape, unknown_shape
from tasks.config import RunConfig
from tasks.estimates.counts import StageCounts, round_counts
from tasks.estimates.hours import Estimate, StageHours
from tasks.estimates.rates import Rates
from tasks.memory.layout import Layout, layout_of
from tasks.memory.work import trainer_of
from tasks.settings.errors import UserError

COLUMNS = ("stage", "on", "requests", "completions", "rollouts", "bound")
HOURS = ("hours", "GPU hours", "cost")


def work_of_round(
    config: RunConfig, played: Mapping[str, int], gpus: int | None, rates: Rates | None
) -> dict[str, Any]:
    """The work of each stage that would run, and with rates its hours.

    `played`: how often each stage would run. `gpus`: cards of the cluster; None takes those of this machine.
    """
    layout = layout_of(config, _cards_here() if gpus is None else gpus)
    counts = {one.stage: one for one in round_counts(config, max(1, played["evaluate"]))}
    names = [name for name, times in played.items() if times]
    records = [_record(name, counts.get(name), config, layout) for name in names]
    work = {
        "cards": layout.cards,
        "problem": layout.problem() if layout.cards else None,
        "stages": records,
    }
    return work if rates is None else {**work, **_with_hours(records, counts, config, rates, layout)}


def _record(name: str, counts: StageCounts | None, config: RunConfig, layout: Layout) -> dict[str, Any]:
    """The counts of a stage, and what it runs on; None is a stage without models."""
    counts = counts or StageCounts(name)
    rollouts = counts.rollouts
    ranks = trainer_of(config, rollouts.role).workers if rollouts else 1
    return {
        "stage": name,
        "on": layout.stands(name, ranks) if counts.completions or rollouts else "a processor",
        "requests": counts.requests,
        "completions": counts.sampled,
        "rollouts": rollouts.total if rollouts else 0,
        "bound": "exact" if counts.exact else "at most",
    }


def _with_hours(
    records: Sequence[Mapping[str, Any]],
    counts: Mapping[str, StageCounts],
    config: RunConfig,
    rates: Rates,
    layout: Layout,
) -> dict[str, Any]:
    """The records with hours, and their sum. UserError where nothing can be estimated."""
    if not layout.cards:
        raise UserError("--rates are those of a card, and there is no GPU here: say how many, such as --gpus 8.")
    if problem := layout.problem():
        advice = f"`active-zero doctor --gpus {layout.cards} --gpu {rates.card}` says what to set"
        raise UserError(f"{problem}, and --gpus is {layout.cards}: {advice}")
    if (shape := model_shape(config.model)) is None:
        raise UserError(unknown_shape(config.model))
    estimate = Estimate(config, shape, rates, layout)
    found = [estimate.hours(counts.get(record["stage"])) for record in records]
    total = StageHours(sum(one.seconds for one in found), layout.cards, rates.price)
    return {
        "rates": {"card": rates.card, "date": str(rates.date), "price": rates.price, "currency": rates.currency},
        "stages": [{**record, **_figures(one)} for record, one in zip(records, found, strict=True)],
        "sum": _figures(total),
    }


def _figures(hours: StageHours) -> dict[str, float]:
    return dict(zip(HOURS, (round(value, 3) for value in (hours.hours, hours.gpu_hours, hours.cost)), strict=True))


def print_work(work: Mapping[str, Any]) -> None:
    """The work as a table, with its sum."""
    print_line("")
    cards = {0: "without a GPU", 1: "on 1 card"}.get(work["cards"], f"on {work['cards']} cards")
    print_line(f"Work {cards}; counts are upper bounds where they say `at most`")
    if work["problem"]:
        advice = f"`active-zero doctor --gpus {work['cards']} --gpu CARD` says what to set"
        print_line(f"It cannot start: {work['problem']}; {advice}.")
    rates, rows = work.get("rates"), list(work["stages"])
    if rates:
        rows = [*rows, {**dict.fromkeys(COLUMNS, ""), "stage": "sum", **work["sum"]}]
        rows = [{**row, **{name: f"{row[name]:.2f}" for name in HOURS}} for row in rows]
    print_table(rows, (*COLUMNS, *HOURS) if rates else COLUMNS, "Nothing is left to play.")
    if rates:
        price = f"{rates['price']:g} {rates['currency']} for a card's hour"
        print_line(
            f"Hours by the rates of {rates['card']} of {rates['date']}; cost at {price}, all cards all the time."
        )


def _cards_here() -> int:
    """GPUs that this process sees."""
    import torch

    return int(torch.cuda.device_count()) if torch.cuda.is_available() else 0
