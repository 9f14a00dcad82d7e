"""Trainers: examples and a reward function in, a trained adapter out."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tasks.trainers.trl import TRL, LoRA

TrainerConfig = Annotated[TRL, Field(discriminator="kind")]
"""Any trainer. A new one is a new file and an arm of this union."""

__all__ = ["TRL", "LoRA", "TrainerConfig"]
