"""A store with one run, whose rounds are complete, unfinished and damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.records import Decision, LabelledQuestion
from tasks.reporting.facts import LabelAccuracy
from tasks.store import Output, Place, Store
from tests.fixtures.run_rows import DECISION, labelled_question
from tests.fixtures.stages import FOLDER


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Run `r`: round 1 complete, round 2 with a torn manifest in its filter, round 3 with a file cut short."""
    store = Store(str(tmp_path / "store"))
    monkeypatch.setenv("ACTIVE_ZERO_STORE", store.url)
    labelled = Output([labelled_question(1, None), labelled_question(2, "too easy")], {"kept": 1, "too easy": 1})
    Place.round(store, "r", 1).commit(FOLDER["filter"], LabelledQuestion, labelled, {"version": 1}, 4.2)
    Place.round(store, "r", 1).commit(FOLDER["promote"], Decision, Output([DECISION]), {"version": 1}, 0.1)
    Place.round(store, "r", 1).commit(FOLDER["report"], LabelAccuracy, Output([]), {"version": 1}, 0.1)
    Place.round(store, "r", 2).commit(FOLDER["filter"], LabelledQuestion, labelled, {"version": 1}, 4.2)
    (filter_folder(store, 2) / "manifest.json").write_text('{"stage": "')
    Place.round(store, "r", 3).commit(FOLDER["filter"], LabelledQuestion, labelled, {"version": 1}, 4.2)
    (part,) = filter_folder(store, 3).glob("part-*.parquet")
    part.write_bytes(part.read_bytes()[:-8])
    return store


def filter_folder(store: Store, number: int) -> Path:
    return Path(store.root) / f"runs/r/round-{number:03d}" / FOLDER["filter"]
