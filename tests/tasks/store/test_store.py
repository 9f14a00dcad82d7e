from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import ValidationError

from tasks.records import Row
from tasks.settings.errors import UserError
from tasks.store import Artifact, DamagedArtifact, Output, Place, StaleArtifact, Store, StoredFile
from tests.fixtures.old_store import rewrite_as_version_0_1


class Note(Row):
    n: int
    text: str | None


class Letter(Row):
    n: int


FINGERPRINTED = {"stage": "6-filter", "version": 2, "config": {"low": 0.3}, "questions": "artifact:aa@bb"}


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Store(f"memory://{uuid4().hex}" if request.param == "memory" else f"{tmp_path}/a store")


@pytest.fixture
def place(store: Store) -> Place:
    return Place.round(store, "default", 3)


def commit(place: Place, count: int, files: Mapping[str, Path] | None = None) -> Artifact[Note]:
    rows = [Note(n=n, text=None if n % 2 else f"note {n}") for n in range(count)]
    return place.commit("6-filter", Note, Output(rows, {"kept": count}, files or {}), dict(FINGERPRINTED), seconds=1.5)


def stored(place: Place) -> dict[str, str]:
    """Addresses of the stage's files, by the part of their names before the attempt's id."""
    root = f"{place.store.root}/{place.prefix}/6-filter"
    return {path.rpartition("/")[2].split("-")[0]: path for path in place.store.fs.find(root)}


def test_a_committed_artifact_is_found_and_read(place: Place) -> None:
    made = commit(place, 5)
    found = place.find("6-filter", Note)
    assert found == made
    assert found.rows == 5 and found.counters == {"kept": 5}
    assert [row.n for row in found.read()] == [0, 1, 2, 3, 4]
    assert found.table().schema.equals(Note.arrow_schema())


def test_without_a_commit_nothing_is_found(place: Place) -> None:
    assert place.find("6-filter", Note) is None


def test_an_artifact_without_rows_is_complete(place: Place) -> None:
    commit(place, 0)
    found = place.find("6-filter", Note)
    assert found is not None and found.read() == []


def test_the_manifest_lists_inputs_and_outputs(place: Place) -> None:
    manifest = commit(place, 5).manifest
    assert manifest.fingerprinted == FINGERPRINTED and manifest.version == 2
    assert manifest.inputs == {"questions": "aa"}
    assert manifest.software["pyarrow"] and manifest.seconds == 1.5
    assert manifest.created.utcoffset() is not None
    assert [file.name for file in manifest.files] == ["part-00000.parquet"]
    assert json.loads(place.store.fs.cat_file(stored(place)["manifest.json"])) == manifest.model_dump(mode="json")


def test_rows_are_at_a_browsable_address(tmp_path: Path) -> None:
    commit(Place.round(Store(str(tmp_path)), "default", 3), 5)
    assert len(list(tmp_path.glob("runs/default/round-003/6-filter/part-*.parquet"))) == 1
    assert len(list(tmp_path.glob("runs/default/round-003/6-filter/*"))) == 2  # and the manifest; nothing temporary


def test_attached_files_come_back_unchanged(place: Place, tmp_path: Path) -> None:
    adapter, report = tmp_path / "made" / "adapter", tmp_path / "made" / "report.md"
    (adapter / "deep").mkdir(parents=True)
    (adapter / "weights").write_bytes(b"\x00\x01")
    (adapter / "deep" / "config.json").write_text("{}")
    report.write_text("# Report")
    artifact = commit(place, 1, {"adapter": adapter, "report.md": report})
    folder = artifact.folder("adapter")
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} == {"deep/config.json"}
    assert (folder / "weights").read_bytes() == b"\x00\x01"
    assert artifact.file("report.md").read_text() == "# Report"
    assert artifact.folder("adapter") == folder


def test_an_unknown_attachment_is_refused_with_the_known_ones(place: Place, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    artifact = commit(place, 1, {"report.md": tmp_path / "x"})
    with pytest.raises(UserError, match=r"nothing attached as 'adapter'; it has part-00000.parquet, report.md"):
        artifact.folder("adapter")


@pytest.mark.parametrize("name", ["../escape", "/etc/passwd", "adapter/../../escaped"])
def test_no_name_in_a_manifest_leads_out_of_the_artifact(name: str) -> None:
    with pytest.raises(ValidationError, match="leads out of the artifact"):
        StoredFile(name=name, path="x", size=0, sha256="")
    with pytest.raises(ValidationError, match="leads out of the artifact"):
        StoredFile(name="x", path=name, size=0, sha256="")


@pytest.mark.parametrize("name", ["../escape", "/etc/passwd", "a/../../b", "part-00000.parquet"])
def test_attached_names_cannot_leave_the_attempt(place: Place, tmp_path: Path, name: str) -> None:
    (tmp_path / "x").write_text("x")
    with pytest.raises(ValueError, match="cannot be the name"):
        commit(place, 1, {name: tmp_path / "x"})


class DiesAfterData(dict[str, Path]):
    """Attached files that interrupt the commit once they are stored, as a kill before the commit does."""

    def items(self) -> Iterator[tuple[str, Path]]:  # type: ignore[override]
        yield from super().items()
        self.die()

    def die(self) -> None:
        raise KeyboardInterrupt


class KilledAfterData(DiesAfterData):
    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def test_an_uncommitted_attempt_leaves_the_older_artifact_whole(place: Place, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("older")
    older = commit(place, 5, {"report.md": tmp_path / "x"})
    (tmp_path / "x").write_text("newer")
    with pytest.raises(KeyboardInterrupt):
        commit(place, 9, DiesAfterData({"report.md": tmp_path / "x"}))
    found = place.find("6-filter", Note)
    assert found == older
    assert found.rows == len(found.read()) == 5
    assert found.file("report.md").read_text() == "older"


def test_a_killed_first_attempt_is_not_complete(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    program = f"""
import importlib.util
from pathlib import Path
spec = importlib.util.spec_from_file_location("test_store", {__file__!r})
tests = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tests)
place = tests.Place.round(tests.Store({str(tmp_path / "store")!r}), "default", 3)
tests.commit(place, 9, tests.KilledAfterData({{"report.md": Path({str(tmp_path / "x")!r})}}))
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    assert subprocess.run([sys.executable, "-c", program], env=environment).returncode == -signal.SIGKILL
    place = Place.round(Store(str(tmp_path / "store")), "default", 3)
    assert len(stored(place)) == 2  # the data were there
    assert place.find("6-filter", Note) is None
    assert commit(place, 2) == place.find("6-filter", Note)


def test_a_replaced_artifact_stays_readable(place: Place) -> None:
    older = commit(place, 5)
    newer = commit(place, 7)
    assert len(older.read()) == 5 and len(newer.read()) == 7
    assert place.find("6-filter", Note) == newer


def test_equal_contents_are_the_same_input_at_any_address(place: Place) -> None:
    first, again, other = commit(place, 5), commit(place, 5), commit(place, 6)
    assert first.content_id == again.content_id != other.content_id
    assert first.fingerprint == other.fingerprint  # the same settings


def test_a_store_of_version_0_1_is_readable(place: Place) -> None:
    made = commit(place, 5)
    rewrite_as_version_0_1(place)
    assert b'"identity"' in place.store.files.read(place.journal.manifest("6-filter"))
    assert b'"stands"' in place.store.files.read(place.journal.path(2))
    assert place.find("6-filter", Note) == made
    assert place.journal.head().complete == {"6-filter": 2}
    assert [name for name, manifest in place.store.stages("default", 3) if manifest] == ["6-filter"]


@pytest.mark.parametrize("position", [0, 200, -1])
def test_a_flipped_bit_is_detected_by_find_and_by_read(place: Place, position: int) -> None:
    artifact = commit(place, 5)
    address = stored(place)["part"]
    data = bytearray(place.store.fs.cat_file(address))
    data[position] ^= 1
    place.store.fs.pipe_file(address, bytes(data))
    with pytest.raises(DamagedArtifact, match="sha256 differs"):
        place.find("6-filter", Note)
    with pytest.raises(DamagedArtifact, match="sha256 differs"):
        artifact.read()


def test_a_truncated_file_and_a_missing_one_are_detected(place: Place) -> None:
    artifact = commit(place, 5)
    address = stored(place)["part"]
    place.store.fs.pipe_file(address, place.store.fs.cat_file(address)[:-7])
    with pytest.raises(DamagedArtifact, match=r"has \d+ bytes instead of \d+"):
        artifact.verify()
    place.store.fs.rm(address)
    with pytest.raises(DamagedArtifact, match="is missing"):
        artifact.verify()
    with pytest.raises(DamagedArtifact, match="is missing"):
        artifact.read()


def test_a_damaged_attachment_is_not_handed_out(place: Place, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("weights")
    artifact = commit(place, 1, {"weights": tmp_path / "x"})
    place.store.fs.pipe_file(stored(place)["weights"], b"WEIGHTS")
    with pytest.raises(DamagedArtifact):
        artifact.file("weights")


def test_a_damaged_copy_of_an_attached_folder_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "weights").write_bytes(b"weights")
    place = Place.round(Store(f"memory://{uuid4().hex}"), "default", 3)
    copy = commit(place, 1, {"adapter/weights": tmp_path / "weights"}).folder("adapter")
    (copy / "weights").write_bytes(b"WEIGHTS")
    found = place.find("6-filter", Note)
    assert found
    assert (found.folder("adapter") / "weights").read_bytes() == b"weights"


@pytest.mark.parametrize("torn", [b"", b'{"stage": "6-fil', b"[]", b"\xff\xfe"])
def test_a_truncated_manifest_is_not_complete_and_is_logged(
    place: Place, torn: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    commit(place, 5)
    place.store.fs.pipe_file(stored(place)["manifest.json"], torn)
    assert place.find("6-filter", Note) is None
    assert "round-003/6-filter/manifest.json cannot be read" in caplog.text
    assert place.store.stages("default", 3) == [("6-filter", None)]


def test_rows_of_another_class_are_refused(place: Place) -> None:
    commit(place, 5)
    with pytest.raises(StaleArtifact, match="holds rows of Note, not Letter"):
        place.find("6-filter", Letter)


def test_rows_with_other_columns_are_refused_on_reading(place: Place) -> None:
    artifact = commit(place, 5)
    with pytest.raises(StaleArtifact, match="other columns than Letter"):
        Artifact(artifact.uri, Letter, artifact.manifest).read()


def test_runs_rounds_and_stages_are_listed_in_their_order(store: Store) -> None:
    for run, number, stage in (("b", 2, "10-report"), ("b", 2, "2-train"), ("b", 10, "1-probe"), ("a", 1, "1-probe")):
        Place.round(store, run, number).commit(stage, Note, Output[Note]([]), {}, 0.0)
    Place(store, "corpora/micro").commit("index", Note, Output[Note]([]), {}, 0.0)
    assert store.runs() == ["a", "b"]
    assert store.rounds("b") == [2, 10]
    assert [name for name, _ in store.stages("b", 2)] == ["2-train", "10-report"]
    assert Place(store, "corpora/micro").find("index", Note) is not None


def test_an_empty_store_has_no_runs(store: Store) -> None:
    assert store.runs() == []
    with pytest.raises(UserError, match=r"no run 'default' in .*; known runs: none yet"):
        store.rounds("default")


def test_an_unknown_run_or_round_names_the_known_ones(place: Place) -> None:
    commit(place, 1)
    with pytest.raises(UserError, match=r"no run 'defualt' in .*; known runs: default\."):
        place.store.rounds("defualt")
    with pytest.raises(UserError, match=r"'default' has no round 4; it has: 3\."):
        place.store.stages("default", 4)


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "../x", "A", "-x", "a b", "x\n", "~"])
def test_no_name_leads_out_of_the_store(store: Store, name: str) -> None:
    with pytest.raises(UserError, match="cannot be a name in the store"):
        Place.round(store, name, 1)
    with pytest.raises(UserError, match="cannot be a name in the store"):
        Place.round(store, "default", 1).find(name, Note)


def test_the_environment_names_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ACTIVE_ZERO_STORE", raising=False)
    assert Store.from_environment().url == f"file://{tmp_path}/artifacts"
    monkeypatch.setenv("ACTIVE_ZERO_STORE", "memory://elsewhere/")
    assert Store.from_environment().url == "memory:///elsewhere"


def test_a_store_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UserError, match="foo://x cannot be a store"):
        Store("foo://x")


def test_a_folder_with_changing_files_is_listed(tmp_path: Path) -> None:
    files, over = Store(str(tmp_path)).files, threading.Event()
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal/entry").write_text("stays")

    def beat() -> None:
        while not over.is_set():
            for number in range(20):
                (tmp_path / f"journal/.beat.{number:08d}").write_text("goes")
                (tmp_path / f"journal/.beat.{number:08d}").unlink()

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        for _ in range(300):
            assert "entry" in [file.name for file in files.listing(f"{files.root}/journal")[0]]
    finally:
        over.set()
        beating.join()
