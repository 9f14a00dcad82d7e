"""Run history: which rounds are complete, and which team is current. The store is its only source."""

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
        """The number of latest rounds in a row that were rolled back."""
        return sum(1 for _ in takewhile(lambda pair: not pair[1].promoted, reversed(self.decisions)))


def read_history(store: Store, run: str, before: int | None = None) -> RunHistory:
    """The complete rounds of a run; with `before`, only those before that round; none for a run that does not exist.

    Later rounds depend on the curriculum of each promoted round and on the adapters of the current team. A round where
    one of these is damaged or outdated counts as not complete: it is played again, and its other stages are reused.
    """
    history = RunHistory(tuple(_decided(store, run, before)))
    for number, decision in history.decisions:
        team = dict.fromkeys(TRAINED.values(), Step) if number == history.team_round else {}
        required: dict[str, type[Row]] = {filter_questions.name: LabelledQuestion, **team}
        if decision.promoted and not _is_usable(round_place(store, run, number), required):
            return RunHistory(history.decisions[: number - 1])
    return history


def start_of(config: RunConfig, store: Store, run: str, number: int) -> Start:
    """What round `number` starts from. UserError for a benchmark or a model that does not exist."""
    open_benchmarks(config.evaluate)  # first, since it reads this disk only and the team may ask the hub
    history = read_history(store, run, before=number)
    return Start(
        team=team_of(config, store, run, history.team_round),
        team_round=history.team_round,
        base=Team.base(config),
        trained_on=trained_on(store, run, history),
    )


def trained_on(store: Store, run: str, history: RunHistory) -> tuple[Artifact[LabelledQuestion], ...]:
    """The curricula that the current team was trained on: those of the promoted rounds, in order."""
    places = [round_place(store, run, number) for number, decision in history.decisions if decision.promoted]
    artifacts = [place.find(filter_questions.name, LabelledQuestion) for place in places]
    return tuple(artifact for artifact in artifacts if artifact is not None)


def team_of(config: RunConfig, store: Store, run: str, number: int) -> Team:
    """The team that round `number` made; the base model for 0. UserError if its base model is not that of `config`."""
    team = Team.base(config)
    if number == 0:
        return team
    place = round_place(store, run, number)
    trained = {role: _trained(place, stage) for role, stage in TRAINED.items()}
    other_bases = [base for base in map(_base_of, trained.values()) if base != fingerprint_value(team.model)]
    if other_bases:
        advice = _advice(other_bases[0])
        raise UserError(f"run {run!r} was played from another base model than {config.model}: {advice}")
    return team.with_players(**trained)


def _decided(store: Store, run: str, before: int | None) -> Iterator[tuple[int, Decision]]:
    """(round, decision) of each round up to the first that is not complete."""
    number = 1
    while before is None or number < before:
        place = round_place(store, run, number)
        if place.manifest(report_round.name) is None or not _is_usable(place, {promote.name: Decision}):
            return
        artifact = place.find(promote.name, Decision)
        if artifact is None:
            return
        (decision,) = artifact.read()
        yield number, decision
        number += 1


def _is_usable(place: Place, stages: Mapping[str, type[Row]]) -> bool:
    """Whether the files of these stages are whole and have the columns of this version. Logs the first that has not."""
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
        raise UserError(f"{place.uri(stage)} is missing, but the current team uses it: give another --run.")
    return artifact


def _base_of(artifact: Artifact[Step]) -> JsonValue:
    """The base model in the fingerprint of a training stage."""
    team = artifact.manifest.fingerprinted["team"]
    return team["model"] if isinstance(team, dict) else None


def _advice(base: JsonValue) -> str:
    """How to resume. The fingerprint of a hub model holds its commit; that of a folder holds a digest only."""
    if isinstance(base, dict):
        return f"resume with --set model={HubModel.model_validate(base)}, or give another --run."
    return "give another --run."
