"""Where a trainer's checkpoints outlive it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Checkpoints(Protocol):
    """Keeps the state of one training (weights, optimiser, schedule, random numbers, position in the examples)."""

    def restore(self, folder: Path) -> None:
        """Put the last checkpoint that was kept into the folder, under its own name; nothing where there is none."""
        ...

    def keep(self, checkpoint: Path) -> None:
        """Keep a checkpoint's folder. Once this returns, `restore` gives this one or a later one."""
        ...
