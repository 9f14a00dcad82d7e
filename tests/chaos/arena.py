"""Players in separate processes, and the state of a store that tests compare."""

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
    """A running process of `tests.chaos.player`."""

    def __init__(self, process: subprocess.Popen[str], temporary: Path) -> None:
        self._process, self.pid, self.temporary = process, process.pid, temporary
        self._answer()

    def play(self, store: str, run: str = "r", **death: Any) -> dict[str, Any]:
        """Play until the child process ends. Returns its status and its error."""
        self.start(store, run, **death)
        return self.end()

    def start(self, store: str, run: str = "r", **death: Any) -> None:
        """Start a child process that plays, and do not wait for it."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"store": store, "run": run, **death}) + "\n")
        self._process.stdin.flush()

    def wake(self) -> dict[str, Any]:
        """Continue the stopped child process. Returns its status and its error."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.end()

    def end(self) -> dict[str, Any]:
        """Wait for the child process. Returns its status and its error."""
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the player is gone"
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def quick_folder() -> Iterator[Path]:
    """A temporary folder, in memory where possible: hundreds of syncs then wait for no disk."""
    with tempfile.TemporaryDirectory(prefix="chaos-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield Path(folder)


@contextmanager
def player(kind: str = "light") -> Iterator[Player]:
    """Start a player; the end of the `with` block kills it."""
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
    """The results and the duration of a round that nothing disturbs."""

    contents: dict[str, dict[str, str]]
    seconds: float


def undisturbed_round(player: Player) -> Undisturbed:
    """Play a round in a new store."""
    with quick_folder() as folder:
        store, started = Store(str(folder)), time.monotonic()
        assert player.play(store.url) == {"status": 0, "error": ""}
        return Undisturbed(contents(store, "r"), time.monotonic() - started)


def commits(store: Store, run: str, number: int = 1) -> Mapping[str, int]:
    """How often each stage was committed, by the journal."""
    journal = Place.round(store, run, number).journal
    return Counter(entry.commit.stage for entry in journal.entries() if entry.commit)


def manifests(store: Store, run: str, number: int = 1) -> dict[str, Manifest]:
    """Manifests of the complete stages. The digest of each file is checked."""
    complete = {name: manifest for name, manifest in store.stages(run, number) if manifest}
    for manifest in complete.values():
        _check(store, run, number, manifest)
    return complete


def contents(store: Store, run: str, *stages: str) -> dict[str, dict[str, str]]:
    """sha256 of each file, by stage and name; of all stages if none is named."""
    return {
        name: {file.name: file.sha256 for file in manifest.files}
        for name, manifest in manifests(store, run).items()
        if not stages or name in stages
    }


def _check(store: Store, run: str, number: int, manifest: Manifest) -> None:
    folder = f"{store.root}/runs/{run}/round-{number:03d}/{manifest.stage}"
    for file in manifest.files:
        assert store.files.sha256(f"{folder}/{file.path}") == file.sha256, f"{folder}/{file.path}"
