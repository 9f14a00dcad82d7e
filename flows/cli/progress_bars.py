"""Progress of long work: bars on a terminal, else a log line now and then. See `tasks.execution.progress`."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tasks.execution.progress import LogLines, Snapshot, duration, listen

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

SECONDS_BETWEEN_LINES = 30.0
"""Of progress in the log, where there is no terminal."""


@contextmanager
def watching(console: Console) -> Iterator[None]:
    """Show the progress of all work tracked inside this block."""
    if console.is_terminal:
        with _bars(console) as progress, listen(Bars(progress)):
            yield
    else:
        with listen(LogLines(logging.getLogger(__name__), every=SECONDS_BETWEEN_LINES)):
            yield


class Bars:
    """A progress listener: one line at the top for the stage, and a bar for each piece of work within it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._head = progress.add_task("starting", total=None, figures="")
        self._tasks: dict[int, TaskID] = {}

    def __call__(self, snapshot: Snapshot) -> None:
        if snapshot.finished:
            self._end(snapshot)
            return
        if snapshot.key not in self._tasks:
            self._tasks[snapshot.key] = self._begin(snapshot)
        self._progress.update(self._tasks[snapshot.key], completed=snapshot.done, figures=figures(snapshot))

    def _begin(self, snapshot: Snapshot) -> TaskID:
        if len(snapshot.path) > 1:
            return self._progress.add_task(label(snapshot), total=snapshot.total, figures="")
        self._progress.reset(self._head, total=snapshot.total, description=label(snapshot), figures="")
        return self._head

    def _end(self, snapshot: Snapshot) -> None:
        task = self._tasks.pop(snapshot.key, None)
        if task is not None and task != self._head:
            self._progress.remove_task(task)


def label(snapshot: Snapshot) -> str:
    """`stage 6 of 10  filter` for a stage of a round; for other work its name, indented by its depth."""
    name, depth = snapshot.path[-1], len(snapshot.path) - 1
    if numbered := re.fullmatch(r"(\d+)-(.+)", name):
        from flows.round import FOLDERS  # slow to import, and imported already where stages run

        name = f"stage {numbered[1]} of {len(FOLDERS)}  {numbered[2]}"
    return "  " * depth + name


def figures(snapshot: Snapshot) -> str:
    """`120/640  reward 0.41  2 min 10 s left`."""
    count = f"{snapshot.done}/{snapshot.total}" if snapshot.total else (str(snapshot.done) if snapshot.done else "")
    values = [f"{name} {value:.3g}" for name, value in snapshot.figures.items()]
    left = "" if snapshot.left is None else f"{duration(snapshot.left)} left"
    return "  ".join(part for part in (count, *values, left) if part)


def _bars(console: Console) -> Progress:
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[figures]}", markup=False),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        refresh_per_second=4,
    )
