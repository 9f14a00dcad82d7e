"""`active-zero gc`: delete files of failed, replaced or withdrawn attempts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.console import print_json, print_line, print_table
from flows.cli.options import Json, examples

if TYPE_CHECKING:
    from tasks.store.garbage import GarbageFile

COLUMNS = ("path", "bytes", "hours", "why")

app = typer.Typer()


@app.command(
    epilog=examples(
        "active-zero gc --dry-run",
        "active-zero gc --older-than 1",
    )
)
def gc(
    older_than: Annotated[float, typer.Option(min=0, metavar="HOURS", help="Keep files younger than this.")] = 24,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be deleted.")] = False,
    json: Json = False,
) -> None:
    """Delete files of failed, replaced or withdrawn attempts. Runs in progress are skipped."""
    from flows.cli.stores import existing_store
    from tasks.store.garbage import find_garbage, remove_garbage

    found = (find_garbage if dry_run else remove_garbage)(existing_store().files, timedelta(hours=older_than))
    records = [_record(file) for file in found.files]
    if json:
        print_json({"would be removed" if dry_run else "removed": records, "left alone": list(found.skipped)})
        return
    print_table(records, COLUMNS, "No garbage.")
    for line in _totals(records, found.skipped, dry_run):
        print_line(line)


def _record(file: GarbageFile) -> dict[str, Any]:
    hours = round(file.age.total_seconds() / 3600, 1)
    return {"path": file.path, "bytes": file.size, "hours": hours, "why": file.why}


def _totals(records: Sequence[dict[str, Any]], busy: Sequence[str], dry_run: bool) -> list[str]:
    """The lines below the table."""
    size = sum(record["bytes"] for record in records)
    verb = "would be removed" if dry_run else "removed"
    skipped = [f"skipped, since a run is in progress: {place}" for place in busy]
    return [f"{len(records)} files, {size / 1e6:.1f} MB {verb}", *skipped]
