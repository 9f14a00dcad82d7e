"""The protocol of a trainer, and the record of one training that it is given.

A new trainer is one file with a `Settings` class that satisfies `Trainer`, and one line in the union `TrainerConfig` of
`tasks.trainers`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tasks.engines.open_engines import Engines
from tasks.engines.pictures import OWN_LIMITS, PictureBudget
from tasks.engines.request import Adapter
from tasks.records import Step
from tasks.trainers.checkpoints import Checkpoints
from tasks.trainers.example import Example, RewardFunction


@dataclass(frozen=True)
class Training:
    """One training: the weights to start from, the examples and the reward to learn from, and where the result goes."""

    model: str
    """Folder of the base model."""
    start: Adapter | None
    """The adapter to continue; None starts a fresh one, or trains the whole model."""
    examples: Sequence[Example]
    reward: RewardFunction
    out: Path
    """Folder for the trained weights: a PEFT adapter (safetensors), or a whole model."""
    seed: int
    pictures: PictureBudget = OWN_LIMITS
    """Size of pictures as the model sees them."""
    engines: Engines | None = None
    """The stage's engines, where one of them may draw the rollouts; without, the model in training draws them."""
    on_step: Callable[[Step], None] | None = None
    """Called after every step."""
    checkpoints: Checkpoints | None = None
    """Where checkpoints of this training, and of no other, are kept; None keeps none."""
    rewards_out: Path | None = None
    """Parquet file for what each step's examples were rewarded (`ExampleReward`); None, where nobody asks for it."""


class Trainer(Protocol):
    """The settings of one kind of trainer, a `Settings` class in a module that imports neither torch nor TRL.

    A trainer turns examples and a reward function into trained weights. The same settings, weights, examples, rewards
    and seed give the same steps and weights. Fields that change neither (device, threads, batch splits, checkpoint
    intervals) are declared `NotFingerprinted`.
    """

    @property
    def kind(self) -> str:
        """The name that selects this trainer in a YAML file: a `Literal` field with its default."""
        ...

    @property
    def steps(self) -> int:
        """Steps at most. A step samples rollouts of `prompts` examples and learns from them."""
        ...

    @property
    def prompts(self) -> int:
        """Prompts a step."""
        ...

    def steps_for(self, examples: int) -> int:
        """The number of steps for this number of examples."""
        ...

    def train(self, training: Training) -> list[Step]:
        """Train, write the weights into `training.out`, and return one row a step.

        With checkpoints it resumes from the last one and ends with the same weights and rows. `UserError` for no
        examples or unusable weights to start from. If a number is no longer finite it raises and writes nothing.
        """
        ...
