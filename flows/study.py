"""Does self-play help? Several rounds for each arm and seed, measured on held-out items that decide nothing.

    python -m flows.study [--config tiny.yaml] [--rounds 3] [--seeds 1,2,3] [--arms active,passive,random-reward]

Each trial (an arm with a seed) is a run `study-<arm>-<seed>` that `active-zero iterate` plays, so an interrupted study
resumes. The current team after the last round is compared with the base model item by item. The interval of an arm is a
bootstrap over items of the mean over seeds: it holds for these seeds and for further items of the same kind.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from flows.history import read_history
from flows.round import round_place
from tasks.benchmarks.statistics import Gain, gain
from tasks.config import DEFAULT, load_config
from tasks.evaluate import evaluate_solver
from tasks.records import Score
from tasks.settings.errors import UserError
from tasks.store import Store

Figures = NDArray[np.float64]
"""[items, 2]: share of right samples, and 1 where the greedy answer is right."""

ARMS: dict[str, tuple[str, ...]] = {
    "active": (),
    "passive": ("search.passive=true",),
    "random-reward": ("rewards.solver=random",),
}
"""The settings of each arm. Passive: the pool is drawn at random. Random reward: the Solver's rewards are drawn."""


@dataclass(frozen=True)
class Trial:
    """One arm with one seed."""

    arm: str
    seed: int

    @property
    def run(self) -> str:
        return f"study-{self.arm}-{self.seed}"


@dataclass(frozen=True)
class Result:
    """What the current team of a trial gained on the held-out items, in points."""

    trial: Trial
    promoted: int
    """Number of promoted rounds."""
    mean: Gain
    """Change of the mean accuracy of samples."""
    greedy: Gain
    """Change of the greedy accuracy."""


def play(trial: Trial, config: str, rounds: int, overrides: Sequence[str]) -> None:
    """Play the missing rounds in a separate process. RuntimeError with the end of its log if it fails."""
    store = Store.from_environment()
    missing = rounds - len(read_history(store, trial.run).decisions)
    if missing <= 0:
        return
    settings = [f"seed={trial.seed}", *ARMS[trial.arm], *overrides]
    command = [sys.executable, "-m", "flows.cli", "iterate", "--config", config, "--run", trial.run]
    command += ["--rounds", str(missing), *(word for setting in settings for word in ("--set", setting))]
    finished = subprocess.run(
        command, env={**os.environ, "ACTIVE_ZERO_STORE": store.url}, capture_output=True, text=True
    )
    if finished.returncode:
        raise RuntimeError(f"{trial.run} failed:\n" + "\n".join(finished.stderr.splitlines()[-15:]))


def scores(trial: Trial, number: int, benchmark: str) -> dict[str, Score]:
    """The rows of one benchmark after round `number` (0: the base model), by item. UserError without them."""
    artifact = round_place(Store.from_environment(), trial.run, number).find(evaluate_solver.name, Score)
    if artifact is None:
        raise UserError(f"run {trial.run} has no scores of round {number}: run the study again.")
    return {row.id: row for row in artifact.read() if row.benchmark == benchmark}


def changes(trial: Trial, number: int, benchmark: str) -> tuple[Figures, Figures]:
    """Figures of the base model and of the team after round `number`, on the same items."""
    before, after = scores(trial, 0, benchmark), scores(trial, number, benchmark)
    return _figures(before.values()), _figures(after[item] for item in before)


def _figures(rows: Iterable[Score]) -> Figures:
    return np.array([[row.sample_accuracy, row.greedy_correct] for row in rows], np.float64)


def gains(before: Figures, after: Figures, seed: int) -> tuple[Gain, Gain]:
    """Change of the mean of samples, and of the greedy accuracy, each with a bootstrap interval."""
    mean, greedy = (gain(before[:, i].tolist(), after[:, i].tolist(), 5000, seed) for i in (0, 1))
    return mean, greedy


def result(trial: Trial, benchmark: str) -> Result:
    """The current team of the trial compared with the base model."""
    history = read_history(Store.from_environment(), trial.run)
    before, after = changes(trial, history.team_round, benchmark)
    promoted = sum(decision.promoted for _, decision in history.decisions)
    return Result(trial, promoted, *gains(before, after, trial.seed))


def pooled(trials: Sequence[Trial], benchmark: str) -> tuple[Figures, Figures]:
    """Figures of the base models and of the current teams: the mean over the trials, item by item."""
    store = Store.from_environment()
    pairs = [changes(trial, read_history(store, trial.run).team_round, benchmark) for trial in trials]
    before, after = (np.mean([pair[side] for pair in pairs], axis=0) for side in (0, 1))
    return before, after


def table(arms: Sequence[str], seeds: Sequence[int], rounds: int, benchmark: str) -> Table:
    """A row for each trial and each arm, then one that compares each other arm with the first."""
    shown = Table(title=f"{benchmark} after {rounds} rounds: points, with the 95 % paired interval of the change")
    for column in ("arm", "seed", "promoted", "mean of samples", "change", "greedy", "change"):
        shown.add_column(column, justify="left" if column == "arm" else "right")
    ends: dict[str, Figures] = {}
    for arm in arms:
        trials = [Trial(arm, seed) for seed in seeds]
        for row in (result(trial, benchmark) for trial in trials):
            shown.add_row(
                arm, str(row.trial.seed), f"{row.promoted} of {rounds}", *_cells(row.mean), *_cells(row.greedy)
            )
        before, ends[arm] = pooled(trials, benchmark)
        mean, greedy = gains(before, ends[arm], seed=0)
        shown.add_row(f"{arm}, all seeds", "", "", *_cells(mean), *_cells(greedy), style="bold", end_section=True)
    first, *others = arms
    for other in others:
        mean, greedy = gains(ends[other], ends[first], seed=0)
        shown.add_row(f"{other} -> {first}", "", "", *_cells(mean), *_cells(greedy))
    return shown


def _cells(change: Gain) -> tuple[str, str]:
    return f"{change.before:.1f} -> {change.after:.1f}", f"{change.points:+.1f} [{change.low:+.1f}, {change.high:+.1f}]"


def _gained(trial: Trial, number: int, benchmark: str) -> float:
    """Points by which the mean of samples after round `number` is above that of the base model."""
    before, after = changes(trial, number, benchmark)
    return 100 * float(after[:, 0].mean() - before[:, 0].mean())


def plot(arms: Sequence[str], seeds: Sequence[int], rounds: int, benchmark: str, path: Path) -> None:
    """Write a plot of the gain of the mean of samples by round, one line a trial."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for color, arm in enumerate(arms):
        for trial in (Trial(arm, seed) for seed in seeds):
            axes.plot(
                range(rounds + 1),
                [0.0, *(_gained(trial, number, benchmark) for number in range(1, rounds + 1))],
                marker="o",
                color=f"C{color}",
                alpha=0.7,
                label=arm if trial.seed == seeds[0] else None,
            )
    axes.axhline(0, color="grey", lw=0.8)
    axes.set(xlabel="round", ylabel="gain of the mean of samples, points", xticks=range(rounds + 1), title=benchmark)
    axes.legend()
    figure.savefig(path, dpi=120)


def _arms(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in ARMS]:
        raise typer.BadParameter(f"{unknown[0]!r} is no arm: give some of {', '.join(ARMS)}.", param_hint="--arms")
    return names


def _seeds(text: str) -> list[int]:
    try:
        return [int(seed) for seed in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no list of numbers, such as 1,2,3.", param_hint="--seeds") from None


def main(
    config: Annotated[str, typer.Option(help="A YAML file, or a name in configs/.")] = DEFAULT,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each trial.")] = 3,
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas.")] = "1,2,3",
    arms: Annotated[
        str, typer.Option(help=f"Arms, separated by commas: {', '.join(ARMS)}.")
    ] = "active,passive,random-reward",
    processes: Annotated[int, typer.Option(min=1, help="Trials that run at the same time.")] = 2,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="a.b=c", help="Override a setting of every trial; may be repeated."),
    ] = None,
    out: Annotated[Path, typer.Option(help="File of the plot.")] = Path("study.png"),
) -> None:
    """Play several rounds for each arm and seed, and print what they gained."""
    names, numbers = _arms(arms), _seeds(seeds)
    benchmark = load_config(config, overrides or []).evaluate.report[0]
    trials = [Trial(arm, seed) for seed in numbers for arm in names]
    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(lambda trial: play(trial, config, rounds, overrides or []), trials))
    Console().print(table(names, numbers, rounds, benchmark))
    plot(names, numbers, rounds, benchmark, out)
    typer.echo(f"plot: {out}", err=True)


if __name__ == "__main__":
    try:
        typer.run(main)
    except UserError as error:
        print(f"study: {error}", file=sys.stderr)
        sys.exit(2)
