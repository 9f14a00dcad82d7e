"""Where a run stands, read from its manifests and from nothing else."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from pydantic import JsonValue

from tasks.config import RunConfig
from tasks.filter import filter_questions
from tasks.players.hub import HubModel
from tasks.players.sampler import Role
from tasks.players.team import Team
from tasks.promote import promote
from tasks.records import Decision, Step, Verdict
from tasks.report import report_round
from tasks.settings.errors import UserError
from tasks.settings.fingerprint import value_of
from tasks.store import Artifact, DamagedArtifact, Place, Store
from tasks.train import train_questioner, train_searcher, train_solver

log = logging.getLogger(__name__)

TRAINED: dict[Role, str] = {
    "searcher": train_searcher.name,
    "questioner": train_questioner.name,
    "solver": train_solver.name,
}
TAUGHT, DECIDED, LAST = filter_questions.name, promote.name, report_round.name


@dataclass(frozen=True)
class Standing:
    """What has been decided so far."""

    decisions: tuple[tuple[int, Decision], ...]
    """Rounds that are complete, with their decisions, in order."""

    @property
    def next(self) -> int:
        """The round to play, or to go on with: the first that is not complete."""
        return self.decisions[-1][0] + 1 if self.decisions else 1

    @property
    def origin(self) -> int:
        """The round whose team plays on: the last one promoted; 0 for the base."""
        return max((number for number, decision in self.decisions if decision.promoted), default=0)

    @property
    def rolled_back(self) -> int:
        """Rounds rolled back in a row, up to now."""
        return sum(1 for _ in takewhile(lambda pair: not pair[1].promoted, reversed(self.decisions)))


def standing(store: Store, run: str, before: int | None = None) -> Standing:
    """Where the run stands; with `before`, where it stood when that round began. A run that is not there is new.

    A round with damage in what later ones rely on counts as not complete: it is played again, which replays what is
    damaged and reuses the rest.
    """
    decided = Standing(tuple(_decided(store, run, before)))
    for number, decision in decided.decisions:
        needed = [TAUGHT, *(TRAINED.values() if number == decided.origin else ())]
        if decision.promoted and _is_damaged(Place.round(store, run, number), needed):
            return Standing(decided.decisions[: number - 1])
    return decided


def taught(store: Store, run: str, stood: Standing) -> tuple[Artifact[Verdict], ...]:
    """The curricula that the standing team has learned from: those of the promoted rounds, in order."""
    places = [Place.round(store, run, number) for number, decision in stood.decisions if decision.promoted]
    found = [place.find(TAUGHT, Verdict) for place in places]
    return tuple(artifact for artifact in found if artifact is not None)


def team_of(config: RunConfig, store: Store, run: str, origin: int) -> Team:
    """The team that round `origin` left; the base for 0. UserError where it was trained from another base model."""
    team = Team.base(config)
    if origin == 0:
        return team
    place = Place.round(store, run, origin)
    trained = {role: _trained(place, stage) for role, stage in TRAINED.items()}
    others = [base for base in map(_base_of, trained.values()) if base != value_of(team.model)]
    if others:
        raise UserError(f"run {run!r} was played from another base model than {config.model}: {_advice(others[0])}")
    return team.having(**trained)


def _decided(store: Store, run: str, before: int | None) -> Iterator[tuple[int, Decision]]:
    """Rounds up to the first that is not complete."""
    number = 1
    while before is None or number < before:
        place = Place.round(store, run, number)
        if place.manifest(LAST) is None or _is_damaged(place, [DECIDED]):
            return
        found = place.find(DECIDED, Decision)
        if found is None:
            return
        (decision,) = found.read()
        yield number, decision
        number += 1


def _is_damaged(place: Place, stages: Sequence[str]) -> bool:
    """Whether a file of these stages is not what was committed; the first is named in the log."""
    try:
        for manifest in filter(None, map(place.manifest, stages)):
            place.verify(manifest)
    except DamagedArtifact as error:
        log.warning("%s", error)
        return True
    return False


def _trained(place: Place, stage: str) -> Artifact[Step]:
    artifact = place.find(stage, Step)
    if artifact is None:
        raise UserError(f"{place.uri(stage)} is missing, and the run plays on from it: give another --run.")
    return artifact


def _base_of(artifact: Artifact[Step]) -> JsonValue:
    """The base model that a training stage names in its identity."""
    team = artifact.manifest.identity["team"]
    return team["model"] if isinstance(team, dict) else None


def _advice(base: JsonValue) -> str:
    """A model of the hub can be had again as it was, by its commit; of a folder only the contents' digest is known."""
    if isinstance(base, dict):
        return f"go on with --set model={HubModel.model_validate(base)}, or give another --run."
    return "give another --run."
