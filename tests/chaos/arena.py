"""What the tests of this folder share: players in processes of their own, and what a store must look like after."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.store import Manifest, Place, Store

ROOT = Path(__file__).parents[2]


class Player:
    """A running `tests.chaos.player`."""

    def __init__(self, process: subprocess.Popen[str], temporary: Path) -> None:
        self._process, self.pid, self.temporary = process, process.pid, temporary
        self._answer()

    def play(self, store: str, run: str = "r", **death: Any) -> dict[str, Any]:
        """Play to the end or to death; the status and the error."""
        self.start(store, run, **death)
        return self.end()

    def start(self, store: str, run: str = "r", **death: Any) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"store": store, "run": run, **death}) + "\n")
        self._process.stdin.flush()

    def go_on(self) -> dict[str, Any]:
        """Wake what has stopped; how it ended."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.end()

    def end(self) -> dict[str, Any]:
        """How what was started ended."""
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the player is gone"
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def quick_folder() -> Iterator[Path]:
    """A folder in memory where there is one: what is synced hundreds of times need not wait for a disk."""
    with tempfile.TemporaryDirectory(prefix="chaos-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield Path(folder)


@contextmanager
def player(kind: str = "light") -> Iterator[Player]:
    """A player for the time of a `with`."""
    with quick_folder() as temporary:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.player", kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": str(ROOT),
                "TMPDIR": str(temporary),
            },
        )
        try:
            yield Player(process, temporary)
        finally:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Undisturbed:
    """What a round makes that nobody disturbs, and how long it takes."""

    contents: dict[str, dict[str, str]]
    seconds: float


def undisturbed_round(one: Player) -> Undisturbed:
    """Played in a store of its own."""
    with quick_folder() as folder:
        store, started = Store(str(folder)), time.monotonic()
        assert one.play(store.url) == {"status": 0, "error": ""}
        return Undisturbed(contents(store, "r"), time.monotonic() - started)


def commits(store: Store, run: str, number: int = 1) -> Mapping[str, int]:
    """How often each stage was committed, as the journal tells."""
    journal = Place.round(store, run, number).journal
    return Counter(entry.commit.stage for entry in journal.entries() if entry.commit)


def manifests(store: Store, run: str, number: int = 1) -> dict[str, Manifest]:
    """Manifests of the complete stages, every file checked."""
    found = {name: manifest for name, manifest in store.stages(run, number) if manifest}
    for manifest in found.values():
        _check(store, run, number, manifest)
    return found


def contents(store: Store, run: str, *stages: str) -> dict[str, dict[str, str]]:
    """sha256 of every file of these stages, or of all, by stage and name."""
    return {
        name: {file.name: file.sha256 for file in manifest.files}
        for name, manifest in manifests(store, run).items()
        if not stages or name in stages
    }


def _check(store: Store, run: str, number: int, manifest: Manifest) -> None:
    folder = f"{store.root}/runs/{run}/round-{number:03d}/{manifest.stage}"
    for file in manifest.files:
        assert store.files.sha256(f"{folder}/{file.path}") == file.sha256, f"{folder}/{file.path}"
