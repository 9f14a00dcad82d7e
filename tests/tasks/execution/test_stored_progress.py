from __future__ import annotations

from pathlib import Path

import pytest

from tasks.execution.progress import Snapshot, also, listen, track
from tasks.execution.stored_progress import StoredProgress, read_progress
from tasks.store import Place, Store
from tasks.store.faults import StoreFault


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.round(Store(str(tmp_path)), "r", 1, ("probe", "filter"))


def test_another_process_reads_what_a_stage_has_reported_last(place: Place) -> None:
    stored = StoredProgress(place, "filter", every=0.0)
    for done in (3, 7):
        stored(Snapshot(1, ("2-filter", "answers"), done, 10, {"reward": 0.5}, 2.0))
    live = read_progress(place, "filter")
    assert live is not None
    assert (live.stage, live.done, live.total) == ("2-filter", 7, 10)
    assert live.line == "2-filter, answers: 7/10 (70 %), reward 0.5, 1 s left"
    stored.clear()
    assert read_progress(place, "filter") is None


def test_a_short_stage_writes_nothing(place: Place, tmp_path: Path) -> None:
    stored = StoredProgress(place, "filter")
    stored(Snapshot(1, ("2-filter",), 7, 10, {}, 2.0))
    stored.clear()
    assert list(tmp_path.rglob("*.json")) == []


def test_a_fault_of_the_store_costs_the_page_a_number_only(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise StoreFault("no space left")

    monkeypatch.setattr(type(place.store.files), "replace", refuse)
    stored = StoredProgress(place, "filter", every=0.0)
    for done in (1, 2, 3):
        stored(Snapshot(1, ("2-filter",), done, 10, {}, 2.0))
    stored.clear()
    assert [record.message for record in caplog.records] == [
        "2-filter: its progress is not in the store: no space left"
    ]


def test_progress_is_heard_by_the_first_listener_too() -> None:
    heard: list[tuple[str, int]] = []
    with (
        listen(lambda snapshot: heard.append(("first", snapshot.done))),
        also(lambda snapshot: heard.append(("second", snapshot.done))),
        track(2, "work") as progress,
    ):
        progress.advance()
    assert heard == [("first", 0), ("second", 0), ("first", 1), ("second", 1), ("first", 1), ("second", 1)]
