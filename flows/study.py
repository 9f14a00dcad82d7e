"""Does it learn? The same rounds from several seeds, measured on held-out items that decide nothing.

    python -m flows.study [--config tiny.yaml] [--rounds 3] [--seeds 1,2,3] [--arms active,passive,random-reward]

Each arm and seed is a run of its own (`study-<arm>-<seed>`), played by `active-zero iterate`, so a study that was
interrupted goes on where it stopped. The team that stands after the last round is compared with the base on each item;
the interval is a bootstrap over items of the mean over seeds, so it speaks of these seeds and of any such items.
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
"""[items, 2]: share of right samples, and whether the greedy answer is right."""

ARMS: dict[str, tuple[str, ...]] = {
    "active": (),
    "passive": ("search.passive=true",),
    "random-reward": ("rewards.solver=random",),
}
"""What each arm changes. Passive: the pool is drawn at random. Random reward: the Solver is paid by lot."""


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
    """What a trial's team gained on the held-out items, in points."""

    trial: Trial
    promoted: int
    mean: Gain
    greedy: Gain


def play(trial: Trial, config: str, rounds: int, overrides: Sequence[str]) -> None:
    """Play the rounds that are missing, in a process of their own. RuntimeError with the log's end if it fails."""
    store = Store.from_environment()
    missing = rounds - len(read_history(store, trial.run).decisions)
    if missing <= 0:
        return
    settings = [f"seed={trial.seed}", *ARMS[trial.arm], *overrides]
    command = [
        sys.executable,
        "-m",
        "flows.cli",
        "iterate",
        "--config",
        config,
        "--run",
        trial.run,
        "--rounds",
        str(missing),
    ]
    command += [part for setting in settings for part in ("--set", setting)]
    done = subprocess.run(command, env={**os.environ, "ACTIVE_ZERO_STORE": store.url}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{trial.run} failed:\n" + "\n".join(done.stderr.splitlines()[-15:]))


def scores(trial: Trial, number: int, benchmark: str) -> dict[str, Score]:
    """The rows of one benchmark after round `number` (0: the base), by item."""
    found = round_place(Store.from_environment(), trial.run, number).find(evaluate_solver.name, Score)
    if found is None:
        raise UserError(f"run {trial.run} has no scores of round {number}: play the study again.")
    return {row.id: row for row in found.read() if row.benchmark == benchmark}


def changes(trial: Trial, number: int, benchmark: str) -> tuple[Figures, Figures]:
    """Before the first round and after round `number`, on the same items."""
    before, after = scores(trial, 0, benchmark), scores(trial, number, benchmark)
    return _figures(before.values()), _figures(after[item] for item in before)


def _figures(rows: Iterable[Score]) -> Figures:
    return np.array([[row.sample_accuracy, row.greedy_correct] for row in rows], np.float64)


def gains(before: Figures, after: Figures, seed: int) -> tuple[Gain, Gain]:
    """Of the mean of samples, and of greedy."""
    mean, greedy = (gain(before[:, i].tolist(), after[:, i].tolist(), 5000, seed) for i in (0, 1))
    return mean, greedy


def result(trial: Trial, benchmark: str) -> Result:
    """The trial's standing team against the base."""
    now = read_history(Store.from_environment(), trial.run)
    before, after = changes(trial, now.team_round, benchmark)
    promoted = sum(decision.promoted for _, decision in now.decisions)
    return Result(trial, promoted, *gains(before, after, trial.seed))


def pooled(trials: Sequence[Trial], benchmark: str) -> tuple[Figures, Figures]:
    """Of the bases and of the standing teams: mean over seeds, item by item."""
    store = Store.from_environment()
    pairs = [changes(trial, read_history(store, trial.run).team_round, benchmark) for trial in trials]
    before, after = (np.mean([pair[side] for pair in pairs], axis=0) for side in (0, 1))
    return before, after


def table(arms: Sequence[str], seeds: Sequence[int], rounds: int, benchmark: str) -> Table:
    """One row a trial, one an arm, and one that sets the first arm beside each other one."""
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
    """Points by which the mean of samples of round `number`'s Solver is above the base's."""
    before, after = changes(trial, number, benchmark)
    return 100 * float(after[:, 0].mean() - before[:, 0].mean())


def plot(arms: Sequence[str], seeds: Sequence[int], rounds: int, benchmark: str, path: Path) -> None:
    """Gain of the sampled mean by round, a line a trial."""
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


def main(
    config: Annotated[str, typer.Option(help="the runs' config")] = DEFAULT,
    rounds: Annotated[int, typer.Option(min=1, help="rounds of each trial")] = 3,
    seeds: Annotated[str, typer.Option(help="seeds, by commas")] = "1,2,3",
    arms: Annotated[str, typer.Option(help=f"arms, by commas, of {', '.join(ARMS)}")] = "active,passive,random-reward",
    processes: Annotated[int, typer.Option(min=1, help="trials at a time")] = 2,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="a.b=c for every trial")] = None,
    out: Annotated[Path, typer.Option(help="where the plot goes")] = Path("study.png"),
) -> None:
    """Play arms x seeds and print what they gained."""
    names, numbers = arms.split(","), [int(seed) for seed in seeds.split(",")]
    benchmark = load_config(config, overrides or []).evaluate.report[0]
    trials = [Trial(arm, seed) for seed in numbers for arm in names]
    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(lambda trial: play(trial, config, rounds, overrides or []), trials))
    Console().print(table(names, numbers, rounds, benchmark))
    plot(names, numbers, rounds, benchmark, out)
    typer.echo(f"plot: {out}", err=True)


if __name__ == "__main__":
    typer.run(main)
