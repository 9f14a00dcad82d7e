"""`active-zero iterate`: all that can be wrong is checked, then rounds are played, watched and summed up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flows.cli.console import say
from flows.cli.runs import refuse_if_not_writable
from flows.cli.runtime import working
from flows.history import read_history
from flows.round import round_place
from tasks.config import load_config
from tasks.players.weights import base_model
from tasks.reporting.facts import LabelAccuracy
from tasks.store import Artifact, Store
from tasks.store.lease import refuse_if_held

if TYPE_CHECKING:
    from flows.round import Round


def iterate(
    config: str, run: str, rounds: int, overrides: Sequence[str], force_from: str | None = None, wait: bool = False
) -> None:
    """Play rounds on from where the run stands, and print what became of each."""
    settings, store = load_config(config, overrides), Store.from_environment()
    refuse_if_not_writable(store, "set ACTIVE_ZERO_STORE to a folder or address that can be")
    round_place(store, run, 1)  # refuses a name that cannot be one
    base_model(settings.model)
    if force_from is not None:
        from flows.force import round_to_force

        round_to_force(store, run, force_from)
    if not wait:
        refuse_if_held(round_place(store, run, read_history(store, run).next_round).journal)
    with working("iterate", "flows.selfplay"):
        from flows.selfplay import play_rounds

        played = play_rounds(run, rounds, config, tuple(overrides), force_from, wait)
    for one in played:
        for line in ending(one):
            say(line)


def ending(played: Round) -> list[str]:
    """The last lines of a round."""
    summary = played.report.file("summary.txt").read_text().splitlines()
    return ["", f"Run {played.run}, round {played.number}", *summary, f"report: {address(played.report)}"]


def address(report: Artifact[LabelAccuracy]) -> str:
    """Where a person opens the report: a path where the store is on this disk."""
    return f"{report.uri}/{report.manifest.attempt}/report.md".removeprefix("file://")
