"""A flipped bit or a lost end in any file is found, and the stage of the file runs again."""

from __future__ import annotations

import errno
import logging
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from tasks.store import Place, Store, StoreFault
from tests.chaos import light
from tests.chaos.arena import commits, contents, quick_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    with quick_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def whole() -> Iterator[Path]:
    """The store of a complete light round."""
    with quick_folder() as folder:
        light.play(str(folder), "r")
        yield folder


def damage(path: Path, draw: Random) -> None:
    """Flip a bit of a file, or cut off its end."""
    data = bytearray(path.read_bytes())
    if draw.random() < 0.5:
        del data[draw.randrange(len(data)) :]
    else:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def read_by_readers(store: Store) -> list[Path]:
    """Files that readers depend on: rows, attached files, manifests, the commits in force, the end of the journal."""
    journal = Place.round(store, "r", 1).journal
    head = journal.head()
    entries = [Path(journal.path(position)) for position in (*head.complete.values(), head.position)]
    return (
        sorted(file for file in Path(store.root).rglob("*") if file.is_file() and "_journal" not in file.parts)
        + entries
    )


@pytest.mark.parametrize("files", [25, pytest.param(100, marks=pytest.mark.slow)])
def test_every_damaged_file_is_found_and_its_stage_runs_again(
    whole: Path, folder: Path, caplog: pytest.LogCaptureFixture, files: int
) -> None:
    caplog.set_level(logging.INFO)
    draw, expected = Random(files), contents(Store(str(whole)), "r")
    for number in range(files):
        copy = folder / str(number)
        shutil.copytree(whole, copy)
        store = Store(str(copy))
        victim = draw.choice(read_by_readers(store))
        damage(victim, draw)
        caplog.clear()
        light.play(store.url, "r")
        assert victim.name in caplog.text, victim
        assert contents(store, "r") == expected
        assert contents(store, "r").keys() == dict.fromkeys(light.STAGES).keys()
        shutil.rmtree(copy)


def test_a_whole_round_is_reused_without_a_warning(whole: Path, caplog: pytest.LogCaptureFixture) -> None:
    light.play(str(whole), "r")
    assert "WARNING" not in {record.levelname for record in caplog.records}
    assert commits(Store(str(whole)), "r") == dict.fromkeys(light.STAGES, 1)


@contextmanager
def nothing_longer_than(size: int) -> Iterator[None]:
    """Writing more than `size` bytes to a file fails, as on a full disk."""
    usual = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, usual)


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """Mount a file system in memory at a folder. Skips the test where mounting is not allowed."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_refused_write_commits_nothing_and_a_later_run_resumes(folder: Path) -> None:
    store = Store(str(folder))
    with pytest.raises((StoreFault, OSError), match=os.strerror(errno.EFBIG)), nothing_longer_than(20_000):
        light.play(store.url, "r")
    assert "2-train" not in contents(store, "r")
    light.play(store.url, "r")
    assert commits(store, "r") == dict.fromkeys(light.STAGES, 1)


def test_a_full_disk_commits_nothing_and_a_later_run_resumes(folder: Path) -> None:
    with mounted(folder, "size=300k"):
        store, ballast = Store(str(folder / "store")), folder / "ballast"
        ballast.write_bytes(b"x" * 230_000)
        with pytest.raises(StoreFault, match=r"writing file://.*/weights: .*No space left .*make room on the disk"):
            light.play(store.url, "r")
        assert list(contents(store, "r")) == ["1-draw"]
        ballast.unlink()
        light.play(store.url, "r")
        assert commits(store, "r") == dict.fromkeys(light.STAGES, 1)
        assert list(contents(store, "r")) == list(light.STAGES)


def test_a_read_only_store_is_named_and_a_later_run_resumes(folder: Path) -> None:
    with mounted(folder, "size=4m"):
        store = Store(str(folder / "store"))
        light.play(store.url, "r")
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        with pytest.raises(StoreFault, match="the store is read-only: make it writable, or set ACTIVE_ZERO_STORE"):
            light.play(store.url, "again")
        assert list(contents(store, "r")) == list(light.STAGES)
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
        light.play(store.url, "again")
        assert commits(store, "again") == dict.fromkeys(light.STAGES, 1)
