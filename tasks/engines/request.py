"""The records that enter and leave an engine: requests and completions.

A request names everything that decides its completions (prompt, picture, adapter, sampling, seed), so that a
completion does not depend on the other requests of its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.records.picture import Picture
from tasks.records.prompt import Prompt


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter on disk (PEFT layout). Two adapters need two names: engines cache weights by (name, path)."""

    name: str
    path: Path


@dataclass(frozen=True)
class Sampling:
    """Sampling settings. Temperature 0 is greedy; `top_k` 0 and `top_p` 1 keep the whole distribution."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0


@dataclass(frozen=True)
class Request:
    """`n` completions of one prompt, numbered from `first`. Completion i takes its randomness from (seed, i) alone."""

    prompt: Prompt
    picture: Picture | None
    adapter: Adapter | None
    """None selects the base model."""
    sampling: Sampling
    n: int = 1
    seed: int = 0
    first: int = 0

    @property
    def numbers(self) -> range:
        """The completions' numbers: `first` to `first + n - 1`."""
        return range(self.first, self.first + self.n)


@dataclass(frozen=True)
class Completion:
    """One sampled text, without its end token."""

    text: str
    tokens: int
    """Sampled tokens, the end token included."""
    finished: bool
    """False when `max_tokens` cut the completion off."""
    refused: str | None = None
    """Why nothing was sampled, and the text is empty; None for a sampled completion."""


def by_adapter(requests: Sequence[Request]) -> dict[Adapter | None, list[int]]:
    """Indices of the requests of each adapter, in the order of first use."""
    groups: dict[Adapter | None, list[int]] = {}
    for index, request in enumerate(requests):
        groups.setdefault(request.adapter, []).append(index)
    return groups
