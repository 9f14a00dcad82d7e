"""Where a trainer's checkpoints outlive it."""

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
        """Put the last checkpoint that was kept into the folder, under its own name; nothing where there is none."""
        ...

    def keep(self, checkpoint: Path) -> None:
        """Keep a checkpoint's folder. Once this returns, `restore` gives this one or a later one."""
        ...


@dataclass(frozen=True)
class StoredCheckpoints:
    """A training's checkpoints as partial results of its stage."""

    partial: PartialResults

    def restore(self, folder: Path) -> None:
        """Unpack the last whole checkpoint into the folder; nothing where there is none."""
        for name in reversed(self._names()):
            with tempfile.TemporaryDirectory() as temporary:
                local = Path(temporary) / name
                if self.partial.fetch(name, local):
                    with tarfile.open(local) as archive:
                        archive.extractall(folder, filter="data")
                    return

    def keep(self, checkpoint: Path) -> None:
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
