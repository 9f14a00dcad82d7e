"""What stands in the store, as records: `active-zero runs`, `show` and `curriculum`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.settings.errors import UserError
from tasks.store import Manifest, Place, Store

if TYPE_CHECKING:
    from tasks.records import LabelledQuestion


def existing_store() -> Store:
    """The store that is meant. UserError where nothing is there, for nothing shall be made by looking."""
    store = Store.from_environment()
    if not store.files.exists(store.root):
        raise UserError(
            f"There is no store at {store.url}: set ACTIVE_ZERO_STORE, or start one with `active-zero iterate`."
        )
    if store.files.local and not Path(store.root).is_dir():
        raise UserError(f"{store.url} is a file, and a store is a folder: set ACTIVE_ZERO_STORE.")
    return store


def refuse_if_not_writable(store: Store, advice: str) -> None:
    """UserError where a store on a disk cannot be written; nothing is left there. Others tell at the first write."""
    if not store.files.local:
        return
    folder = next(path for path in (Path(store.root), *Path(store.root).parents) if path.exists())
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"{store.root} cannot be written ({error.strerror}: {folder}): {advice}.") from None


def runs(store: Store) -> list[dict[str, Any]]:
    """One record a run."""
    return [_run(store, name) for name in store.runs()]


def stages(store: Store, run: str, number: int | None = None, stage: str | None = None) -> list[dict[str, Any]]:
    """One record a stage of a run, of one round or one name only if given. UserError where there is none."""
    numbers = store.rounds(run) if number is None else [number]
    found = [_stage(store, run, n, name, manifest) for n in numbers for name, manifest in store.stages(run, n)]
    wanted = [record for record in found if stage in (None, record["stage"])]
    if stage is not None and not wanted:
        known = ", ".join(dict.fromkeys(record["stage"] for record in found)) or "none yet"
        raise UserError(f"Run {run!r} has no stage {stage!r} there; it has: {known}.")
    return wanted


def verdicts(store: Store, run: str, number: int | None) -> tuple[int, list[LabelledQuestion]]:
    """A round's number and judged questions; without a number, the last round that has them."""
    from flows.round import round_place
    from tasks.filter import filter_questions
    from tasks.records import LabelledQuestion

    place = round_place(store, run, _last_filtered(store, run) if number is None else _known(store, run, number))
    artifact = place.find(filter_questions.name, LabelledQuestion)
    if artifact is None:
        uri = place.uri(filter_questions.name)
        raise UserError(f"{uri} is not complete: resume with `active-zero iterate --run {run}`.")
    return int(place.prefix.rpartition("-")[2]), artifact.read()


def _run(store: Store, name: str) -> dict[str, Any]:
    from flows.history import read_history

    try:
        now = read_history(store, name)
    except UserError as error:
        return _run_record(name, state=str(error))
    last = now.decisions[-1][1] if now.decisions else None
    best = dict(now.decisions).get(now.team_round)
    return _run_record(
        name,
        rounds=len(now.decisions),
        promoted=[number for number, decision in now.decisions if decision.promoted],
        team=now.team_round,
        accuracy=best.mean_after if best else (last.mean_before if last else None),
        state=_under_way(store, name, now.next_round),
    )


def _run_record(name: str, **known: Any) -> dict[str, Any]:
    """`team` is the round whose team plays on (0: the base), `accuracy` its sampled mean on the gate in points."""
    return {"run": name, "rounds": 0, "promoted": [], "team": 0, "accuracy": None, "state": "", **known}


def _under_way(store: Store, run: str, number: int) -> str:
    """What is next: a new round, or the rest of one that was begun."""
    if number not in store.rounds(run):
        return f"round {number} is next"
    complete = sum(manifest is not None for _, manifest in store.stages(run, number))
    return f"round {number} is under way, {complete} stages complete"


def _stage(store: Store, run: str, number: int, name: str, manifest: Manifest | None) -> dict[str, Any]:
    uri = Place.round(store, run, number).uri(name)
    common = {"run": run, "round": number, "stage": name, "uri": uri}
    if manifest is None:
        return {**common, "state": "unfinished", "fingerprint": None, "rows": None, "seconds": None, "counters": {}}
    return {
        **common,
        "state": "damaged" if _damaged(store, uri, manifest) else "complete",
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


def _damaged(store: Store, uri: str, manifest: Manifest) -> bool:
    """Whether a file is missing or of another size. Their bytes are checked whenever they are read."""
    folder = uri.replace(store.url, store.root, 1)
    return any(not _has_size(store, f"{folder}/{file.path}", file.size) for file in manifest.files)


def _has_size(store: Store, path: str, size: int) -> bool:
    try:
        return store.files.stat(path).size == size
    except FileNotFoundError:
        return False


def _known(store: Store, run: str, number: int) -> int:
    """The number, if the run has such a round."""
    store.stages(run, number)
    return number


def _last_filtered(store: Store, run: str) -> int:
    complete = list(_filtered(store, run, store.rounds(run)))
    if not complete:
        raise UserError(f"Run {run!r} has no curriculum yet: play on with `active-zero iterate --run {run}`.")
    return complete[-1]


def _filtered(store: Store, run: str, numbers: Sequence[int]) -> Iterator[int]:
    from flows.round import round_place
    from tasks.filter import filter_questions

    return (number for number in numbers if round_place(store, run, number).manifest(filter_questions.name) is not None)
