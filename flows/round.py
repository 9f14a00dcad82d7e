"""One round, its stages in order. Every stage finds its own artifact, or plays: so a round goes on where it stopped."""

from __future__ import annotations

from dataclasses import dataclass

from prefect import flow

from flows.history import standing, taught, team_of
from tasks.config import RunConfig
from tasks.corpus import Shelf
from tasks.evaluate import evaluate_solver, open_exams
from tasks.execution.flow_run import await_approval
from tasks.filter import filter_questions, open_canaries
from tasks.probe import probe_frontier
from tasks.promote import promote
from tasks.records import Decision, Verdict
from tasks.report import report_round
from tasks.reporting.facts import Band
from tasks.search import search_images
from tasks.settings.seeds import seed_of
from tasks.store import Artifact, Place, Store
from tasks.synthesize import synthesize_questions
from tasks.train import train_questioner, train_searcher, train_solver


@dataclass(frozen=True)
class Round:
    """A round that was played to its end."""

    run: str
    number: int
    decision: Decision
    curriculum: Artifact[Verdict]
    report: Artifact[Band]


@flow(name="round", flow_run_name="{run}-{number}")
def play_round(config: RunConfig, run: str, number: int, store: str, approve: bool = False) -> Round:
    """Find the frontier, find images on it, ask, keep what teaches, learn, measure."""
    home, seed = Store(store), seed_of(config.seed, number)
    here, stood = Place.round(home, run, number), standing(home, run, before=number)
    origin, earlier = stood.origin, taught(home, run, stood)
    domains, train, pay, exams = config.domains, config.train, config.rewards, open_exams(config.evaluate)
    known = open_canaries(config.filter)
    team = team_of(config, home, run, origin)
    shelf = Shelf.stock(home, config)

    frontier = probe_frontier(here, config.probe, team, shelf, domains, seed)
    searcher = train_searcher(here, train.searcher, pay, team, frontier, shelf, domains, seed)
    pool = search_images(here, config.search, team.having(searcher=searcher), frontier, shelf, domains, seed)
    questioner = train_questioner(here, train.questioner, pay, team, pool, earlier, shelf, seed)
    questions = synthesize_questions(here, config.synthesize, team.having(questioner=questioner), pool, shelf, seed)
    curriculum = filter_questions(here, config.filter, known, team, questions, earlier, shelf, seed)
    solver = train_solver(here, train.solver, pay, team, curriculum, shelf, seed)

    untrained = team_of(config, home, run, 0).solver_alone()
    base = evaluate_solver(Place.round(home, run, 0), config.evaluate, exams, untrained, config.seed)
    before = evaluate_solver(Place.round(home, run, origin), config.evaluate, exams, team.solver_alone(), config.seed)
    after = evaluate_solver(here, config.evaluate, exams, team.having(solver=solver).solver_alone(), config.seed)
    judged = (here, config.promote, before, after, config.evaluate.gate, seed)
    if approve and not promote.stands(*judged):
        await_approval(here)
    decision = promote(*judged)
    report = report_round(
        here, config.promote, config.filter, shelf, frontier, searcher, pool, questioner, questions, curriculum, solver,
        base, before, after, decision, seed,
    )  # fmt: skip
    return Round(run, number, decision.read()[0], curriculum, report)
