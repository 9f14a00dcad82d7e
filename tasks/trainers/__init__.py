"""Trainers turn examples and a reward function into trained weights. `TrainerConfig` is any trainer's settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tasks.trainers.protocol import Trainer, Training
from tasks.trainers.trl import TRL, LoRA

TrainerConfig = Annotated[TRL, Field(discriminator="kind")]
"""Any trainer's settings. A new trainer is a new file and a member of this union."""

if TYPE_CHECKING:

    def _satisfies_protocol(config: TrainerConfig) -> Trainer:
        """Makes mypy compare every member of the union with the protocol."""
        return config


__all__ = ["TRL", "LoRA", "Trainer", "TrainerConfig", "Training"]
