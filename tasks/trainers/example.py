"""The records between a trainer and its caller: examples in, rollouts to the reward function, rewards back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tasks.records.picture import Picture
from tasks.records.prompt import Prompt


@dataclass(frozen=True)
class Example:
    """One training prompt. The log and the reward function know it by its `id`."""

    id: str
    prompt: Prompt
    picture: Picture | None


@dataclass(frozen=True)
class Rollout:
    """One completion of an example, sampled by the policy in training."""

    example: Example
    text: str


@dataclass(frozen=True)
class Reward:
    """A rollout's reward."""

    total: float
    terms: Mapping[str, float] = field(default_factory=dict)
    """The parts of the total by name: logged, not used in training."""


RewardFunction = Callable[[Sequence[Rollout]], Sequence[Reward]]
"""One reward a rollout. Called once a step with all its rollouts; rollouts of one example are adjacent."""
