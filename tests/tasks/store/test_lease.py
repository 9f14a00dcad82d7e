from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest

from tasks.records import Row
from tasks.store import Artifact, Fenced, Held, Output, Place, Store, StoreFault
from tasks.store import faults as store_faults
from tasks.store.files import Files
from tasks.store.journal import Entry, JournalHead
from tasks.store.lease import Lease, LeaseState
from tasks.store.owner import Owner


class Note(Row):
    n: int


ELSEWHERE = Owner(pid=7, host="elsewhere", machine="another", started="1")
GONE = Owner.this().model_copy(update={"started": "1"})
"""An ended process of this machine with the same process number."""


@pytest.fixture(params=["file", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    url = f"memory://{uuid4().hex}" if request.param == "memory" else str(tmp_path)
    return Place.round(Store(url), "default", 1)


def commit(place: Place, n: int = 1, stage: str = "6-filter") -> Artifact[Note]:
    return place.commit(stage, Note, Output([Note(n=n)]), {"version": 1, "n": n, "numbers": "artifact:aa@bb"}, 0.0)


def events(place: Place) -> list[tuple[str, int]]:
    return [(entry.event, entry.epoch) for entry in place.journal.entries()]


def taken_elsewhere(place: Place) -> Entry:
    """A process on another machine takes the lease, whoever holds it."""
    entry = place.journal.head().next_entry("acquired", None, ELSEWHERE, place.journal.head().complete)
    assert place.journal.append(entry)
    return entry


def test_a_commit_is_made_under_a_lease_and_lists_its_inputs(place: Place) -> None:
    commit(place)
    assert events(place) == [("acquired", 1), ("committed", 1), ("released", 1)]
    made = place.journal.commit("6-filter", place.journal.head())
    assert made and made.inputs == {"numbers": "aa@bb"}
    assert made.manifest == place.store.files.read(place.journal.manifest("6-filter")).decode()


def test_inputs_are_found_at_any_depth_of_the_fingerprint(place: Place) -> None:
    fingerprinted = {"team": {"solver": "artifact:cc@dd"}, "earlier": ["artifact:ee@ff"]}
    manifest = place.commit("6-filter", Note, Output([Note(n=1)]), fingerprinted, 0.0).manifest
    assert manifest.inputs == {"team.solver": "cc", "earlier[0]": "ee"}
    assert manifest.input_digests == {"team.solver": "cc@dd", "earlier[0]": "ee@ff"}


def test_commits_under_one_lease_share_its_epoch(place: Place) -> None:
    with place.hold(wait=False):
        commit(place, stage="1-probe")
        commit(place)
    assert events(place) == [("acquired", 1), ("committed", 1), ("committed", 1), ("released", 1)]
    with place.hold(wait=False) as lease:
        assert lease.epoch == 5


def test_a_process_that_lost_the_lease_commits_nothing(place: Place) -> None:
    older = commit(place)
    with place.hold(wait=False):
        entry = taken_elsewhere(place)
        with pytest.raises(Fenced, match="went to process 7 on elsewhere"):
            commit(place, 2)
    assert place.find("6-filter", Note) == older
    assert place.journal.entries()[-1] == entry


def test_a_lease_of_a_silent_owner_is_taken_over(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVE_ZERO_LEASE_SECONDS", "0.3")
    taken_elsewhere(place)
    assert place.find("6-filter", Note) is None
    assert commit(place) == place.find("6-filter", Note)
    assert [entry.epoch for entry in place.journal.entries()] == [1, 2, 2, 2]


def test_a_lease_with_heartbeats_is_not_taken_over(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVE_ZERO_LEASE_SECONDS", "1.0")
    epoch, beats, read = taken_elsewhere(place).epoch, iter(range(1000)), Files.read

    def beating(self: Files, path: str) -> bytes:
        return b"%d" % next(beats) if path == place.journal.heartbeat(epoch) else read(self, path)

    monkeypatch.setattr(Files, "read", beating)
    with pytest.raises(Held, match="being played by process 7 on elsewhere: give --wait"), place.hold(wait=False):
        pass


def test_the_next_owner_publishes_a_dead_processs_commit(tmp_path: Path) -> None:
    place = Place.round(Store(str(tmp_path)), "default", 1)
    program = f"""
import os
from tasks.store.lease import Lease
from tests.tasks.store.test_lease import *
Lease._publish = lambda self, commit: os._exit(3)
commit(Place.round(Store({str(tmp_path)!r}), "default", 1))
"""
    root = str(Path(__file__).parents[3])
    assert subprocess.run([sys.executable, "-c", program], cwd=root, env={"PYTHONPATH": root}).returncode == 3
    assert place.find("6-filter", Note) is None  # manifest.json is missing
    with place.hold(wait=False):
        found = place.find("6-filter", Note)
    assert found and found.read() == [Note(n=1)]
    assert events(place) == [("acquired", 1), ("committed", 1), ("acquired", 3), ("released", 3)]


def test_removing_a_manifest_makes_the_stage_incomplete(place: Place) -> None:
    commit(place)
    place.store.files.remove(place.journal.manifest("6-filter"))
    with place.hold(wait=False):
        assert place.find("6-filter", Note) is None


def test_a_removed_manifest_stays_removed_after_a_kill(place: Place) -> None:
    commit(place, stage="1-probe")
    commit(place)
    assert place.journal.append(place.journal.head().next_entry("acquired", None, GONE, place.journal.head().complete))
    place.store.files.remove(place.journal.manifest("1-probe"))
    with place.hold(wait=False):
        assert place.find("1-probe", Note) is None
        assert place.find("6-filter", Note)


def test_an_outdated_manifest_does_not_hide_the_committed_one(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    older = commit(place, 1).manifest
    newer = commit(place, 2)
    place.store.files.replace(place.journal.manifest("6-filter"), older.model_dump_json(indent=2).encode())
    assert place.find("6-filter", Note) == newer
    assert (
        f"is of attempt {older.attempt}, but attempt {newer.manifest.attempt} was committed and is used" in caplog.text
    )


def test_no_work_begins_under_a_lost_lease(place: Place) -> None:
    with place.hold(wait=False):
        taken_elsewhere(place)
        with pytest.raises(Fenced, match="went to process 7 on elsewhere"), place.hold(wait=True):
            pytest.fail("work began")


def test_a_failed_write_leaves_a_lease_unconfirmed_until_the_next(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with place.hold(wait=False) as lease:
        assert lease.state is LeaseState.CONFIRMED
        with monkeypatch.context() as broken:
            broken.setattr(Lease, "_publish", _lost_reply)
            with pytest.raises(StoreFault, match="no reply"):
                commit(place, 1)
        assert lease.state is LeaseState.UNCONFIRMED
        assert place.find("6-filter", Note) is None
        commit(place, 2, stage="7-train")
        assert lease.state is LeaseState.CONFIRMED
        assert place.find("6-filter", Note)
    assert lease.state is LeaseState.RELEASED


def _lost_reply(*_: object) -> None:
    raise StoreFault("no reply")


def test_a_lost_lease_stays_lost_and_is_not_released(place: Place) -> None:
    with place.hold(wait=False) as lease:
        entry = taken_elsewhere(place)
        for _ in range(2):
            with pytest.raises(Fenced):
                commit(place)
            assert lease.state is LeaseState.LOST
    assert place.journal.entries()[-1] == entry


def test_a_process_of_unknown_state_is_not_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    live = Owner.this()

    def out_of_descriptors(self: Path, *_: object, **__: object) -> str:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Path, "read_text", out_of_descriptors)
    assert not live.gone and not live.runs
    assert Owner.this().machine == ""


def test_a_manifest_without_a_commit_is_ignored(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    commit(place)
    for entry in place.journal.entries():
        place.store.files.remove(place.journal.path(entry.position))
    assert place.find("6-filter", Note) is None
    assert "6-filter/manifest.json was not committed" in caplog.text


def test_a_stage_is_withdrawn_with_the_stages_after_it(place: Place) -> None:
    for stage in ("2-train", "10-report", "1-probe"):
        commit(place, stage=stage)
    assert place.withdraw_from("2-train", request="again") == ["2-train", "10-report"]
    assert place.find("1-probe", Note) and not place.find("2-train", Note) and not place.find("10-report", Note)
    assert "again" in {entry.request for entry in place.journal.entries()}


def test_a_damaged_last_journal_entry_is_logged_and_ignored(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    first = commit(place, 1, "1-probe")
    place.store.files.replace(place.journal.path(3), b'{"position": 3, "event": "rele')
    assert place.find("1-probe", Note) == first
    second = commit(place, 2)
    assert "00000003.json is damaged" in caplog.text
    assert place.find("6-filter", Note) == second and place.find("1-probe", Note) == first


def test_one_of_several_writers_creates_an_entry(place: Place) -> None:
    entries = [JournalHead(0, None).next_entry("acquired", None, ELSEWHERE, {}) for _ in range(3)]
    assert [place.journal.append(entry) for entry in entries] == [True, False, False]
    assert place.journal.append(entries[0])  # the reply was lost, and the request is repeated


def test_a_reused_process_number_is_another_process() -> None:
    this = Owner.this()
    assert this.runs and not this.gone
    assert this.model_copy(update={"started": "1"}).gone
    assert this.model_copy(update={"pid": 2**22 + 1}).gone
    assert not ELSEWHERE.gone and not ELSEWHERE.runs


def test_requests_are_retried_until_the_deadline_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVE_ZERO_STORE_DEADLINE", "0.5")
    calls, before = list[int](), store_faults.retry_count()

    def busy() -> None:
        calls.append(1)
        raise TimeoutError("no answer")

    with pytest.raises(StoreFault, match=r"reading x: gave up after \d+ tries in 0 s: no answer"):
        store_faults.with_retries("reading x", busy)
    assert len(calls) == store_faults.retry_count() - before + 1 > 1


@pytest.mark.parametrize("error", [PermissionError(13, "no"), OSError(28, "No space left on device"), ValueError("x")])
def test_lasting_errors_are_not_retried(error: Exception) -> None:
    calls = list[int]()

    def refused() -> None:
        calls.append(1)
        raise error

    with pytest.raises(StoreFault, match="writing x: "):
        store_faults.with_retries("writing x", refused)
    assert len(calls) == 1


def test_pauses_are_drawn_below_a_bound_that_doubles_up_to_a_cap() -> None:
    attempts = [SimpleNamespace(attempt_number=number) for number in range(1, 13)]
    many = [[store_faults.WAIT(attempt) for attempt in attempts] for _ in range(200)]  # type: ignore[arg-type]
    highest = [max(column) for column in zip(*many, strict=True)]
    assert highest[0] <= 0.2 and highest[3] <= 1.6 and 5 < highest[-1] <= 10
    assert min(min(column) for column in zip(*many, strict=True)) < 0.05


def test_the_journal_is_readable_json(place: Place) -> None:
    commit(place)
    body = json.loads(place.store.files.read(place.journal.path(2)))
    assert (
        body["event"] == "committed" and body["complete"] == {"6-filter": 2} and body["commit"]["stage"] == "6-filter"
    )
