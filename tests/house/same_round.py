"""Compare the first round of two stores: are rows, weights and scores the same?

    python -m tests.house.same_round STORE_A STORE_B [--run default]

A change that claims to change no result (a move, a rename) plays the default round before and after, each into a
store of its own, and this command compares them. Names that version 0.2 changed in rows are translated, so that a
store of version 0.1 can be one of the two. Exit code 1 where any stage differs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
import typer

from flows.round import FOLDERS

COLUMNS = {"parts": "reward_terms", "part_means": "reward_term_means"}
VALUES = {
    "canary": "gold item",
    "text share": "text repetition",
    "image share": "image repetition",
    "memory share": "history penalty",
}


def stage_folders(store: Path, run: str) -> Iterator[Path]:
    """The base model's evaluation, then the stages of round 1."""
    evaluation = next(folder for folder in FOLDERS if folder.endswith("evaluate"))
    yield store / "runs" / run / "round-000" / evaluation
    yield from (store / "runs" / run / "round-001" / folder for folder in FOLDERS)


def read_stage(folder: Path) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The rows of a stage, with the names of this version, and the sha256 of its weights by file name."""
    files = json.loads((folder / "manifest.json").read_text())["files"]
    parts = [folder / file["path"] for file in files if file["name"].startswith("part-")]
    rows = [translate_row(row) for part in parts for row in pq.read_table(part).to_pylist()]
    return rows, {file["name"]: file["sha256"] for file in files if file["name"].endswith(".safetensors")}


def translate_row(row: dict[str, Any]) -> dict[str, Any]:
    """The row with this version's column names and values."""
    return {COLUMNS.get(name, name): translate_value(value) for name, value in row.items()}


def translate_value(value: Any) -> Any:
    """A text of version 0.1 in the words of this version."""
    if isinstance(value, list):
        return [translate_value(item) for item in value]
    if isinstance(value, str) and value.startswith("canary/"):
        return f"gold/{value.removeprefix('canary/')}"
    return VALUES.get(value, value) if isinstance(value, str) else value


def compare(
    first: Annotated[Path, typer.Argument(metavar="STORE_A")],
    second: Annotated[Path, typer.Argument(metavar="STORE_B")],
    run: Annotated[str, typer.Option(help="The run to compare.")] = "default",
) -> None:
    """Compare the first round of two stores, stage by stage."""
    differs = False
    for one, other in zip(stage_folders(first, run), stage_folders(second, run), strict=True):
        (rows, weights), (other_rows, other_weights) = read_stage(one), read_stage(other)
        same_rows, same_weights = rows == other_rows, weights == other_weights
        differs |= not (same_rows and same_weights)
        line = f"{len(rows)} rows {'equal' if same_rows else 'DIFFER'}"
        line += f", weights {'equal' if same_weights else 'DIFFER'}" if weights or other_weights else ""
        typer.echo(f"{one.parent.name}/{one.name}: {line}")
    raise typer.Exit(int(differs))


if __name__ == "__main__":
    typer.run(compare)
