"""Which files may lie where."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.house.source import Offence, Source, last_name

MOST_VERBS = 12
"""Files at the top of `tasks/`, `__init__.py` among them."""
BESIDE_FLOWS = {
    "flows/__init__.py",
    "flows/round.py",  # the method, which every flow plays
    "flows/history.py",  # what a run starts from
    "flows/force.py",  # which stages play again
    "flows/study.py",  # runs `active-zero iterate` in processes
    "flows/pretrain.py",  # the recipe of the shipped models
}
"""Modules at the top of `flows/` that hold no Prefect flow."""


def misplaced_files(sources: Sequence[Source], root: Path) -> Iterator[Offence]:
    """Top-level modules of `flows/` without a flow, flows elsewhere, and too many files at the top of `tasks/`."""
    for source in sources:
        top = source.path.startswith("flows/") and source.path.count("/") == 1
        if top and source.path not in BESIDE_FLOWS and not _has_flow(source):
            yield Offence(source.path, 1, "no flow is here", "move it into flows/cli, flows/server or tasks")
        if source.path.startswith("tasks/") and (line := _has_flow(source)):
            yield Offence(source.path, line, "a flow in tasks", "move it to the top of flows/")
    top_files = sorted(path.name for path in (root / "tasks").glob("*.py"))
    if len(top_files) > MOST_VERBS:
        advice = "only verbs and config.py belong there; put nouns into a folder"
        yield Offence("tasks", 1, f"{len(top_files)} files at the top, at most {MOST_VERBS} are allowed", advice)


def _has_flow(source: Source) -> int:
    """The line of the first `@flow`, 0 for none."""
    functions = (node for node in ast.walk(source.tree) if isinstance(node, ast.FunctionDef))
    flows = (node.lineno for node in functions if "flow" in map(last_name, node.decorator_list))
    return next(flows, 0)
