"""What a trainer is given and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tasks.records.picture import Picture
from tasks.records.prompt import Prompt


@dataclass(frozen=True)
class Example:
    """One training prompt. `id` names it in the log and in the reward function."""

    id: str
    prompt: Prompt
    picture: Picture | None


@dataclass(frozen=True)
class Rollout:
    """One sampled completion of an example by the policy in training."""

    example: Example
    text: str


@dataclass(frozen=True)
class Reward:
    """What a rollout earned, and of what it is made (logged, not used)."""

    total: float
    terms: Mapping[str, float] = field(default_factory=dict)


RewardFunction = Callable[[Sequence[Rollout]], Sequence[Reward]]
"""Called once per generation batch, with all of its rollouts: groups of the same example stand together."""
