"""Which files may lie where."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from tests.house.source import Offence, Source, last_name

BESIDE_VERBS = {"tasks/__init__.py", "tasks/config.py"}
"""Modules at the top of `tasks/` that hold no stage."""
BESIDE_FLOWS = {
    "flows/__init__.py",
    "flows/round.py",  # the method, which every flow plays
    "flows/history.py",  # what a run starts from
    "flows/force.py",  # which stages play again
    "flows/study.py",  # runs `active-zero iterate` in processes
    "flows/pretrain.py",  # the recipe of the shipped models
}
"""Modules at the top of `flows/` that hold no Prefect flow."""


def misplaced_files(sources: Sequence[Source]) -> Iterator[Offence]:
    """Top-level modules of `flows/` without a flow or of `tasks/` without a stage, and flows elsewhere."""
    for source in sources:
        folder, _, rest = source.path.partition("/")
        top = "/" not in rest
        if top and folder == "tasks" and source.path not in BESIDE_VERBS and not _decorated(source, "stage"):
            yield Offence(source.path, 1, "no stage is here", "move it into a folder of tasks")
        if top and folder == "flows" and source.path not in BESIDE_FLOWS and not _decorated(source, "flow"):
            yield Offence(source.path, 1, "no flow is here", "move it into flows/cli, flows/server or tasks")
        if source.path.startswith("tasks/") and (line := _decorated(source, "flow")):
            yield Offence(source.path, line, "a flow in tasks", "move it to the top of flows/")


def _decorated(source: Source, decorator: str) -> int:
    """The line of the first function under `@decorator`, 0 for none."""
    functions = (node for node in ast.walk(source.tree) if isinstance(node, ast.FunctionDef))
    lines = (node.lineno for node in functions if decorator in map(last_name, node.decorator_list))
    return next(lines, 0)
