"""Run history: which rounds are complete, and which team is current. The store is its only source."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile

from pydantic import JsonValue

from flows.round import FOLDERS, Start, round_place
from tasks.config import RunConfig
from tasks.evaluate import open_benchmarks
from tasks.filter import filter_questions
from tasks.players.hub import HubModel
from tasks.players.sampler import Role
from tasks.players.team import Team
from tasks.promote import promote
from tasks.records import Decision, LabelledQuestion, Row, Step
from tasks.report import report_round
from tasks.settings.base import Frozen
from tasks.settings.errors import UserError
from tasks.settings.fingerprint import digest, fingerprint_value
from tasks.store import Artifact, DamagedArtifact, Place, StaleArtifact, Store, StoreFault
from tasks.train import train_questioner, train_searcher, train_solver

log = logging.getLogger(__name__)

INDEX = "history.json"
"""Below a run's folder: the decisions of its complete rounds, so that `active-zero runs` need not open every round.

A cache: an entry counts only while the round's folder holds exactly the files that it held when the round was read and
verified, version by version, and while the rows have the columns of this program.
"""
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


class IndexedRound(Frozen):
    """A complete round: its decision, and a digest of the paths and versions of its files."""

    decision: dict[str, bool | int | float | str]
    files: str


class HistoryIndex(Frozen):
    """The complete rounds of a run, from round 1 on."""

    columns: str
    """A digest of the columns of the rows that a history needs."""
    rounds: tuple[IndexedRound, ...]


def write_index(store: Store, run: str) -> None:
    """Write the index of a run's complete rounds, which are read and verified for it.

    A fault of the store is logged: the rounds are complete without it.
    """
    try:
        store.files.replace(_path(store, run), _index(store, run).model_dump_json().encode())
    except StoreFault as error:
        log.warning("%s of run %s was not written: %s", INDEX, run, error)


def _index(store: Store, run: str) -> HistoryIndex:
    history = read_history(store, run)
    with store.snapshot(run):
        rounds = tuple(
            IndexedRound(decision=decision.model_dump(), files=_digest(store, run, number))
            for number, decision in history.decisions
        )
    return HistoryIndex(columns=_columns(), rounds=rounds)


def read_indexes(store: Store) -> None:
    """In a snapshot: fetch the indexes of all runs together."""
    store.files.fetch(path for run in store.runs() if store.files.exists(path := _path(store, run)))


def indexed_history(store: Store, run: str) -> RunHistory | None:
    """The history that the index tells; None where there is no index, or it is not of the rounds as they are now.

    For use in a snapshot, which lists the run's files once.
    """
    try:
        index = HistoryIndex.model_validate_json(store.files.read(_path(store, run)))
    except (FileNotFoundError, ValueError):
        return None
    rounds = enumerate(index.rounds, 1)
    if index.columns != _columns() or any(_digest(store, run, number) != entry.files for number, entry in rounds):
        return None
    decisions = [(number, Decision.model_validate(entry.decision)) for number, entry in enumerate(index.rounds, 1)]
    history = RunHistory(tuple(decisions))
    return None if _has_report(store, run, history.next_round) else history


def _has_report(store: Store, run: str, number: int) -> bool:
    """Whether a round that the index does not name may be complete."""
    return store.files.exists(round_place(store, run, number).journal.manifest(FOLDERS[-1]))


def _digest(store: Store, run: str, number: int) -> str:
    """A digest of the paths and versions of a round's files."""
    folder = f"{store.root}/runs/{run}/round-{number:03d}"
    return digest({stat.path.removeprefix(folder): stat.version for stat in store.files.walk(folder)})


def _columns() -> str:
    rows = (Decision, LabelledQuestion, Step)
    return digest({row.__name__: str(row.arrow_schema()) for row in rows})


def _path(store: Store, run: str) -> str:
    return f"{store.root}/runs/{run}/{INDEX}"
