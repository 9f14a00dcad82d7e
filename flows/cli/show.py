"""`active-zero show`: the stages of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.console import print_json, print_table
from flows.cli.options import Json, examples

if TYPE_CHECKING:
    from tasks.store import Manifest, Store

COLUMNS = ("round", "stage", "state", "fingerprint", "rows", "seconds", "counters")

app = typer.Typer()


@app.command(
    epilog=examples(
        "active-zero show default",
        "active-zero show default --round 2 --stage 6-filter --json",
    )
)
def show(
    run: Annotated[str, typer.Argument(metavar="RUN")],
    number: Annotated[int | None, typer.Option("--round", metavar="N", help="Only this round.")] = None,
    stage: Annotated[str | None, typer.Option(metavar="S", help="Only this stage, such as 6-filter.")] = None,
    json: Json = False,
) -> None:
    """List a run's stages: state, fingerprint, rows, seconds. Round 0 holds the base model's scores."""
    from flows.cli.stores import existing_store

    records = stage_records(existing_store(), run, number, stage)
    if json:
        print_json(records)
        return
    short = [{**record, "fingerprint": (record["fingerprint"] or "-")[:12]} for record in records]
    print_table(short, COLUMNS, "No stages yet.")


def stage_records(store: Store, run: str, number: int | None, stage: str | None) -> list[dict[str, Any]]:
    """One record a stage, optionally of one round or one stage. UserError if the run, round or stage is unknown."""
    from tasks.settings.errors import UserError
    from tasks.store.place import Place, read_ahead

    with store.snapshot(run):
        numbers = store.rounds(run) if number is None else [number]
        read_ahead([Place.round(store, run, n) for n in numbers])
        found = [_record(store, run, n, name, manifest) for n in numbers for name, manifest in store.stages(run, n)]
    chosen = [record for record in found if stage in (None, record["stage"])]
    if stage is not None and not chosen:
        known = ", ".join(dict.fromkeys(record["stage"] for record in found)) or "none yet"
        raise UserError(f"Run {run!r} has no stage {stage!r} there; it has: {known}.")
    return chosen


def _record(store: Store, run: str, number: int, name: str, manifest: Manifest | None) -> dict[str, Any]:
    from tasks.store import Place

    uri = Place.round(store, run, number).uri(name)
    common = {"run": run, "round": number, "stage": name, "uri": uri}
    if manifest is None:
        return {**common, "state": "unfinished", "fingerprint": None, "rows": None, "seconds": None, "counters": {}}
    return {
        **common,
        "state": "damaged" if _is_damaged(store, uri, manifest) else "complete",
        "fingerprint": manifest.fingerprint,
        "rows": manifest.rows,
        "seconds": manifest.seconds,
        "counters": manifest.counters,
        "version": manifest.version,
        "created": manifest.created.isoformat(),
        "inputs": manifest.inputs,
        "files": [file.model_dump() for file in manifest.files],
        "software": manifest.software,
    }


def _is_damaged(store: Store, uri: str, manifest: Manifest) -> bool:
    """Whether a file is missing or has another size. Contents are verified when a stage reads them."""
    folder = uri.replace(store.url, store.root, 1)
    return any(not _has_size(store, f"{folder}/{file.path}", file.size) for file in manifest.files)


def _has_size(store: Store, path: str, size: int) -> bool:
    try:
        return store.files.stat(path).size == size
    except FileNotFoundError:
        return False
