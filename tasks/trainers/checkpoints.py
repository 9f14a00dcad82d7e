"""Checkpoints of a training in the store, so that a stage that is killed resumes there, on any machine."""

from __future__ import annotations

import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tasks.store.partial_results import PartialResults

CHECKPOINT = "checkpoint-"


class Checkpoints(Protocol):
    """Keeps the state of one training (weights, optimiser, schedule, random numbers, position in the examples)."""

    def restore(self, folder: Path) -> None:
        """Put the last saved checkpoint into the folder, under its own name. Does nothing if there is none."""
        ...

    def save(self, checkpoint: Path) -> None:
        """Save a checkpoint's folder. Once this returns, `restore` gives this checkpoint or a later one."""
        ...


@dataclass(frozen=True)
class StoredCheckpoints:
    """A training's checkpoints among the partial results of its stage, one tar file each."""

    partial: PartialResults

    def restore(self, folder: Path) -> None:
        """Unpack the last undamaged checkpoint into the folder. Does nothing if there is none."""
        for name in reversed(self._names()):
            with tempfile.TemporaryDirectory() as temporary:
                local = Path(temporary) / name
                if self.partial.fetch(name, local):
                    with tarfile.open(local) as archive:
                        archive.extractall(folder, filter="data")
                    return

    def save(self, checkpoint: Path) -> None:
        """Store a checkpoint's folder (`checkpoint-<updates>`), and remove the ones before it."""
        earlier = self._names()
        name = f"{CHECKPOINT}{int(checkpoint.name.removeprefix(CHECKPOINT)):08d}.tar"
        with tempfile.TemporaryDirectory() as temporary:
            local = Path(temporary) / name
            with tarfile.open(local, "w") as archive:
                archive.add(checkpoint, checkpoint.name)
            self.partial.keep(name, local)
        self.partial.discard(*(other for other in earlier if other != name))

    def _names(self) -> list[str]:
        return [name for name in self.partial.names if name.startswith(CHECKPOINT)]
