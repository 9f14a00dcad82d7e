"""What an engine is asked and what it returns: requests in, completions out.

A request names everything that decides its outcome (prompt, picture, adapter, sampling, seed), so that a completion
does not depend on what else is in its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tasks.records.prompt import Picture, Prompt


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter on disk (PEFT layout). The name is unique to its weights: engines cache by (name, path)."""

    name: str
    path: Path


@dataclass(frozen=True)
class Sampling:
    """How to sample. Temperature 0 is greedy; `top_k` 0 and `top_p` 1 leave the distribution whole."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0


@dataclass(frozen=True)
class Request:
    """`n` completions of one prompt, numbered from `first`. Completion i depends on (seed, i) and the prompt alone."""

    prompt: Prompt
    picture: Picture | None
    adapter: Adapter | None
    """None asks the base model itself."""
    sampling: Sampling
    n: int = 1
    seed: int = 0
    first: int = 0

    @property
    def numbers(self) -> range:
        """The completions' numbers."""
        return range(self.first, self.first + self.n)


@dataclass(frozen=True)
class Completion:
    """One sampled text, without the end token."""

    text: str
    tokens: int
    """Sampled tokens, the end token among them."""
    finished: bool
    """False when `max_tokens` cut it off."""


class Engine(Protocol):
    """A loaded model that answers requests."""

    def generate(
        self, requests: Sequence[Request], on_done: Callable[[int], None] | None = None
    ) -> list[list[Completion]]:
        """Completions per request, in order (`len(result[i]) == requests[i].n`); `on_done(k)` after k more
        completions."""
        ...

    def close(self) -> None:
        """Free the model and its processes. A closed engine cannot be used again."""
        ...


def by_adapter(requests: Sequence[Request]) -> dict[Adapter | None, list[int]]:
    """Indices of the requests of each adapter."""
    groups: dict[Adapter | None, list[int]] = {}
    for index, request in enumerate(requests):
        groups.setdefault(request.adapter, []).append(index)
    return groups
