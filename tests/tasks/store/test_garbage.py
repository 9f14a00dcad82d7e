from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tasks.records import Row
from tasks.store import Artifact, Output, Place, Store
from tasks.store.garbage import find_garbage, remove_garbage
from tasks.store.journal import Commit, JournalHead
from tasks.store.owner import Owner

NOW = timedelta(0)


class Note(Row):
    n: int


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def place(store: Store) -> Place:
    return Place.round(store, "default", 1)


def commit(place: Place, n: int = 1, stage: str = "6-filter") -> Artifact[Note]:
    report = Path(place.store.root).parent / "report.md"
    report.write_text(f"{n}")
    return place.commit(stage, Note, Output([Note(n=n)], files={"deep/report.md": report}), {"n": n}, 0.0)


class Killed(dict[str, Path]):
    """Attached files that interrupt the commit once they are stored."""

    def items(self) -> Iterator[tuple[str, Path]]:  # type: ignore[override]
        yield from super().items()
        raise KeyboardInterrupt


def killed(place: Place, stage: str = "6-filter") -> None:
    report = Path(place.store.root).parent / "report.md"
    report.write_text("lost")
    with pytest.raises(KeyboardInterrupt):
        place.commit(stage, Note, Output([Note(n=9)], files=Killed({"report.md": report})), {}, 0.0)


def found(store: Store, older: timedelta = NOW) -> dict[str, int]:
    """Counts of garbage files by reason."""
    whys = [file.why for file in find_garbage(store.files, older).files]
    return {why: whys.count(why) for why in whys}


def test_a_completed_round_has_no_garbage(store: Store, place: Place) -> None:
    commit(place)
    assert found(store) == {}


def test_killed_and_replaced_attempts_are_garbage(store: Store, place: Place) -> None:
    commit(place, 1)
    killed(place)
    newer = commit(place, 2)
    assert found(store) == {"replaced": 2, "never committed": 2}
    assert len(remove_garbage(store.files, NOW).files) == 4
    assert found(store) == {}
    again = place.find("6-filter", Note)
    assert again == newer and again and again.read() == [Note(n=2)]
    stage = Path(store.root, "runs/default/round-001/6-filter")
    assert len([path for path in stage.rglob("*") if path.is_file()]) == 3  # rows, report and manifest
    assert not [path for path in stage.rglob("*") if path.is_dir() and not any(path.iterdir())]


def test_a_first_attempt_that_was_killed_is_garbage(store: Store, place: Place) -> None:
    killed(place)
    assert found(store) == {"never committed": 2}


def test_withdrawn_stages_are_garbage(store: Store, place: Place) -> None:
    commit(place)
    place.withdraw_from("6-filter")
    assert found(store) == {"replaced": 2}


def test_young_files_are_kept(store: Store, place: Place) -> None:
    killed(place)
    assert found(store, timedelta(hours=1)) == {}
    for path in Path(store.root).rglob("*"):
        os.utime(path, (time.time() - 7200,) * 2)
    assert found(store, timedelta(hours=1)) == {"never committed": 2}


def test_places_in_use_are_skipped(store: Store, place: Place) -> None:
    killed(place)
    with place.hold(wait=False):
        swept = find_garbage(store.files, NOW)
    assert swept.files == () and swept.skipped == ("runs/default/round-001",)


def test_recently_replaced_attempts_are_kept_with_old_files(store: Store, place: Place) -> None:
    commit(place, 1)
    for path in Path(store.root).rglob("*"):
        os.utime(path, (time.time() - 7200,) * 2)
    commit(place, 2)
    assert found(store, timedelta(hours=1)) == {}
    assert found(store) == {"replaced": 2}


def test_a_silent_owner_cannot_commit_removed_files(
    store: Store, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIVE_ZERO_LEASE_SECONDS", "0.1")
    elsewhere = Owner(pid=7, host="elsewhere", machine="another", started="1")
    held = place.journal.head().next_entry("acquired", None, elsewhere, {})
    assert place.journal.append(held)
    files = place.store.root + "/" + place.prefix + "/6-filter/part-0badc0de-00000.parquet"
    store.files.replace(files, b"uploaded by the silent owner")
    for path in Path(store.root).rglob("*"):
        os.utime(path, (time.time() - 7200,) * 2)
    assert [file.why for file in remove_garbage(store.files, NOW).files] == ["never committed"]
    manifest = commit(Place.round(store, "other", 1)).manifest
    pointing = Commit(
        stage="6-filter", attempt="0badc0de", fingerprint="", inputs={}, manifest=manifest.model_dump_json()
    )
    woken = JournalHead(held.position, held).next_entry("committed", held.epoch, elsewhere, {"6-filter": 2}, pointing)
    assert not place.journal.append(woken)


@pytest.mark.parametrize("hours", [0, 2])
def test_an_owner_on_another_machine_is_dead_after_an_hour(store: Store, place: Place, hours: int) -> None:
    killed(place)
    journal = place.journal
    elsewhere = Owner(pid=7, host="elsewhere", machine="another", started="1")
    assert journal.append(journal.head().next_entry("acquired", None, elsewhere, {}))
    for path in Path(store.root).rglob("*"):
        os.utime(path, (time.time() - 3600 * hours,) * 2)
    assert bool(found(store)) == (hours == 2)


def test_half_written_files_are_garbage(store: Store, place: Place) -> None:
    commit(place)
    for name in ("6-filter/.part-0badc0de-00000.parquet.5be1c0d7", "_journal/.00000004.json.5be1c0d7"):
        Path(store.root, place.prefix, name).write_text("half")
    assert found(store) == {"half written": 2}


def test_places_inside_places_keep_their_artifacts(store: Store) -> None:
    corpus, part = Place(store, "corpora/micro"), Place(store, "corpora/micro/parts/00000012")
    commit(corpus, stage="index")
    commit(part, stage="embeddings")
    assert found(store) == {}
    commit(part, 2, stage="embeddings")
    assert found(store) == {"replaced": 2}


def test_files_of_others_are_kept(store: Store, place: Place) -> None:
    commit(place)
    root = Path(store.root, place.prefix)
    (root / "6-filter" / "notes.txt").write_text("mine")
    (root / "00000012").mkdir()
    (root / "00000012" / "0badc0de").mkdir()
    (root / "00000012" / "0badc0de" / "x").write_text("mine")
    assert found(store) == {}


def test_a_place_with_a_damaged_journal_is_skipped(store: Store, place: Place) -> None:
    killed(place)
    commit(place)
    last = place.journal.head().position
    store.files.replace(place.journal.path(last), b"{")
    assert find_garbage(store.files, NOW).skipped == ("runs/default/round-001",)


def test_partial_results_of_a_killed_stage_are_garbage(store: Store, place: Place, tmp_path: Path) -> None:
    for stage in ("6-filter", "7-train-solver"):
        commit(place, stage="6-filter")
        (tmp_path / "some").write_text("partial")
        place.partial_results(stage, {"n": 1}).keep("completions-1", tmp_path / "some")
    whys = found(store)
    assert whys["partial result of a complete stage"] == whys["partial result of an unfinished stage"] == 1
    assert "partial result of an unfinished stage" not in found(store, timedelta(hours=1))


def test_drafts_of_version_0_1_are_garbage(store: Store, place: Place, tmp_path: Path) -> None:
    (tmp_path / "some").write_text("partial")
    commit(place)
    place.partial_results("7-train-solver", {"n": 1}).keep("completions-1", tmp_path / "some")
    stage = Path(store.root, place.prefix, "7-train-solver")
    (stage / "partial").rename(stage / "drafts")
    assert found(store) == {"partial result of an unfinished stage": 1}
