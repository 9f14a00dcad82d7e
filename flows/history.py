"""Which rounds of a run are complete, and which team they left. Read from the store and from nothing else."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile

from pydantic import JsonValue

from flows.round import Start, round_place
from tasks.config import RunConfig
from tasks.evaluate import open_benchmarks
from tasks.filter import filter_questions
from tasks.players.hub import HubModel
from tasks.players.sampler import Role
from tasks.players.team import Team
from tasks.promote import promote
from tasks.records import Decision, LabelledQuestion, Row, Step
from tasks.report import report_round
from tasks.settings.errors import UserError
from tasks.settings.fingerprint import fingerprint_value
from tasks.store import Artifact, DamagedArtifact, Place, StaleArtifact, Store
from tasks.train import train_questioner, train_searcher, train_solver

log = logging.getLogger(__name__)

TRAINED: dict[Role, str] = {
    "searcher": train_searcher.name,
    "questioner": train_questioner.name,
    "solver": train_solver.name,
}
"""The stage that trains each role."""


@dataclass(frozen=True)
class RunHistory:
    """The decisions of a run's complete rounds."""

    decisions: tuple[tuple[int, Decision], ...]
    """(round, decision), in order."""

    @property
    def next_round(self) -> int:
        """The first round that is not complete: the one to start or to resume."""
        return self.decisions[-1][0] + 1 if self.decisions else 1

    @property
    def team_round(self) -> int:
        """The round that made the current team: the last promoted one; 0 for the base model."""
        return max((number for number, decision in self.decisions if decision.promoted), default=0)

    @property
    def rolled_back(self) -> int:
        """How many rounds in a row were rolled back, up to now."""
        return sum(1 for _ in takewhile(lambda pair: not pair[1].promoted, reversed(self.decisions)))


def read_history(store: Store, run: str, before: int | None = None) -> RunHistory:
    """A run's complete rounds; with `before`, only those before that round. A run that does not exist is new.

    A promoted round with a damaged or outdated file that later rounds depend on counts as not complete: it is played
    again, which repeats the stages concerned and reuses the others.
    """
    history = RunHistory(tuple(_decided(store, run, before)))
    for number, decision in history.decisions:
        team = dict.fromkeys(TRAINED.values(), Step) if number == history.team_round else {}
        needed: dict[str, type[Row]] = {filter_questions.name: LabelledQuestion, **team}
        if decision.promoted and not _is_usable(round_place(store, run, number), needed):
            return RunHistory(history.decisions[: number - 1])
    return history


def start_of(config: RunConfig, store: Store, run: str, number: int) -> Start:
    """What round `number` starts from. UserError for a benchmark or a model that is not there."""
    open_benchmarks(config.evaluate)  # on this disk: asked for before the hub is asked for a model
    history = read_history(store, run, before=number)
    return Start(
        team=team_of(config, store, run, history.team_round),
        team_round=history.team_round,
        base=Team.base(config),
        trained_on=trained_on(store, run, history),
    )


def trained_on(store: Store, run: str, history: RunHistory) -> tuple[Artifact[LabelledQuestion], ...]:
    """The curricula that the current team has learned from: those of the promoted rounds, in order."""
    places = [round_place(store, run, number) for number, decision in history.decisions if decision.promoted]
    found = [place.find(filter_questions.name, LabelledQuestion) for place in places]
    return tuple(artifact for artifact in found if artifact is not None)


def team_of(config: RunConfig, store: Store, run: str, number: int) -> Team:
    """The team that round `number` made; the base model for 0. UserError if it was trained from another base model."""
    team = Team.base(config)
    if number == 0:
        return team
    place = round_place(store, run, number)
    trained = {role: _trained(place, stage) for role, stage in TRAINED.items()}
    others = [base for base in map(_base_of, trained.values()) if base != fingerprint_value(team.model)]
    if others:
        raise UserError(f"run {run!r} was played from another base model than {config.model}: {_advice(others[0])}")
    return team.with_players(**trained)


def _decided(store: Store, run: str, before: int | None) -> Iterator[tuple[int, Decision]]:
    """Rounds up to the first that is not complete."""
    number = 1
    while before is None or number < before:
        place = round_place(store, run, number)
        if place.manifest(report_round.name) is None or not _is_usable(place, {promote.name: Decision}):
            return
        found = place.find(promote.name, Decision)
        if found is None:
            return
        (decision,) = found.read()
        yield number, decision
        number += 1


def _is_usable(place: Place, stages: Mapping[str, type[Row]]) -> bool:
    """Whether these stages' files are whole, with the rows of this version. The first that is not is logged."""
    try:
        for stage, row_type in stages.items():
            place.find(stage, row_type)
    except (DamagedArtifact, StaleArtifact) as error:
        log.warning("%s", error)
        return False
    return True


def _trained(place: Place, stage: str) -> Artifact[Step]:
    artifact = place.find(stage, Step)
    if artifact is None:
        raise UserError(f"{place.uri(stage)} is missing, and the current team needs it: give another --run.")
    return artifact


def _base_of(artifact: Artifact[Step]) -> JsonValue:
    """The base model in a training stage's fingerprint."""
    team = artifact.manifest.fingerprinted["team"]
    return team["model"] if isinstance(team, dict) else None


def _advice(base: JsonValue) -> str:
    """A hub model can be had again by its commit; of a folder only the contents' digest is known."""
    if isinstance(base, dict):
        return f"resume with --set model={HubModel.model_validate(base)}, or give another --run."
    return "give another --run."
