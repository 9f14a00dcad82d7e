"""One round: the method, one line a stage. Complete stages are reused, so a round resumes where it stopped."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.config import RunConfig
from tasks.corpus import CorpusHandle
from tasks.evaluate import evaluate_solver, open_benchmarks
from tasks.execution.flow_run import await_approval
from tasks.execution.kept import keep_open
from tasks.filter import filter_questions, open_gold_items
from tasks.players.team import Team
from tasks.probe import probe_frontier
from tasks.promote import promote
from tasks.records import Decision, LabelledQuestion, Score
from tasks.report import RoundArtifacts, report_round
from tasks.reporting.facts import LabelAccuracy
from tasks.search import search_images
from tasks.settings.seeds import seed_of
from tasks.store import Artifact, Place, Store
from tasks.synthesize import synthesize_questions
from tasks.train import train_questioner, train_searcher, train_solver

STAGES = (
    probe_frontier.name,
    train_searcher.name,
    search_images.name,
    train_questioner.name,
    synthesize_questions.name,
    filter_questions.name,
    train_solver.name,
    evaluate_solver.name,
    promote.name,
    report_round.name,
)
"""The stages of a round in order."""
FOLDERS = tuple(f"{number}-{stage}" for number, stage in enumerate(STAGES, 1))
"""The folders of the stages in the store, numbered in this order: `1-probe` to `10-report`."""


@dataclass(frozen=True)
class Start:
    """What a round starts from: the outcome of the rounds before it."""

    team: Team
    """The current team: that of the last promoted round, or the base model in all roles."""
    team_round: int
    """The round that made `team`; 0 for the base model."""
    base: Team
    """The base model in all roles, which the report compares with."""
    trained_on: tuple[Artifact[LabelledQuestion], ...]
    """The curricula that `team` was trained on, in the order of rounds."""


@dataclass(frozen=True)
class Round:
    """A complete round."""

    run: str
    number: int
    decision: Decision
    curriculum: Artifact[LabelledQuestion]
    report: Artifact[LabelAccuracy]
    corpus: CorpusHandle


@keep_open()
def play_round(config: RunConfig, store: Store, run: str, number: int, start: Start, approve: bool = False) -> Round:
    """Find the frontier, retrieve pictures on it, ask questions, keep those that teach, learn, measure.

    With `approve`, a flow run of a deployment is suspended before the promotion. UserError for a missing benchmark.
    """
    place, seed, team = round_place(store, run, number), seed_of(config.seed, number), start.team
    domains, train, rewards = config.domains, config.train, config.rewards_by_preset
    gold_items, benchmarks = open_gold_items(config.filter), open_benchmarks(config.evaluate)
    corpus = CorpusHandle.of_run(store, config)

    def evaluate(number: int, team: Team) -> Artifact[Score]:
        of_round = round_place(store, run, number)
        return evaluate_solver(of_round, config.evaluate, benchmarks, team.solver_alone(), config.seed)

    frontier = probe_frontier(place, config.probe_by_preset, team, corpus, domains, seed)
    searcher = train_searcher(place, train.searcher, rewards, team, frontier, corpus, domains, seed)
    with_searcher = team.with_players(searcher=searcher)
    pool = search_images(place, config.search, with_searcher, frontier, corpus, domains, seed)
    questioner = train_questioner(place, train.questioner, rewards, team, pool, start.trained_on, corpus, seed)
    with_questioner = team.with_players(questioner=questioner)
    questions = synthesize_questions(place, config.synthesize, with_questioner, pool, corpus, seed)
    curriculum = filter_questions(place, config.filter, gold_items, team, questions, start.trained_on, corpus, seed)
    solver = train_solver(place, train.solver, config.rewards, team, curriculum, corpus, seed)

    base, before = evaluate(0, start.base), evaluate(start.team_round, team)
    after = evaluate(number, team.with_players(solver=solver))
    comparison = (place, config.promote, before, after, config.evaluate.gate, seed)
    if approve and not promote.is_complete(*comparison):
        await_approval(place)
    decision = promote(*comparison)
    artifacts = RoundArtifacts(
        frontier=frontier, searcher=searcher, pool=pool, questioner=questioner, questions=questions,
        curriculum=curriculum, solver=solver, base=base, before=before, after=after, decision=decision,
    )  # fmt: skip
    report = report_round(place, config.promote, config.filter, corpus, artifacts, seed)
    return Round(run, number, decision.read()[0], curriculum, report, corpus)


def round_place(store: Store, run: str, number: int) -> Place:
    """The place of round `number` in the store. Round 0 holds the evaluation of the base model."""
    return Place.round(store, run, number, STAGES)
