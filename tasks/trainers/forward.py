"""How rollouts are sampled, batched and scored: packed, for the architectures of the fast way, or padded, for any.

Both give a token the same log-probability. `forward_of` chooses.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from tasks.engines import decode, general
from tasks.engines.architecture import has_fast_way
from tasks.engines.decode import SampledTokens
from tasks.engines.general import ModelInputs
from tasks.engines.inputs import VisionCache
from tasks.engines.request import Request
from tasks.trainers import packing, padding
from tasks.trainers.packing import PackedBatch, PackedRow, PromptInputs
from tasks.trainers.padding import PaddedBatch


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One rollout to learn from: its prompt, its sampled tokens and its advantage."""

    prompt: Any
    """`PromptInputs` or `ModelInputs`, as the policy's way takes it."""
    sample: SampledTokens
    advantage: float
    old: Tensor | None = None
    """(C,) float32 on the host: log-probabilities before the step's first update. None with one update a step on the
    model's own samples: there, they are the current ones."""


Row = Sequence[Trajectory]
"""A few rollouts of one prompt."""
Rows = Sequence[Row]
"""Rows of one forward pass."""
Batch = PackedBatch | PaddedBatch


class Forward(Protocol):
    """One way to run the policy."""

    def prompts(self, model: Any, processor: Any, requests: Sequence[Request]) -> list[Any]:
        """The requests' prompts, as this way takes them. `model` is no PeftModel."""
        ...

    def sample(
        self, policy: Any, processor: Any, requests: Sequence[Request], prompts: Sequence[Any]
    ) -> list[list[SampledTokens]]:
        """Samples of each request by the policy's current weights; `prompts` are the requests' own."""
        ...

    def parts(self, groups: Rows, tokens: int) -> tuple[Rows, ...]:
        """The groups by forward pass, each of at most about `tokens` tokens (padding included)."""
        ...

    def size(self, rows: Rows) -> int:
        """Tokens (padding included) of one forward pass."""
        ...

    def batch(self, rows: Rows, device: torch.device) -> Batch:
        """The tensors of one forward pass."""
        ...

    def score(self, model: Any, batch: Any, temperature: float) -> tuple[Tensor, Tensor]:
        """See `packing.score`."""
        ...


class PackedForward:
    """Several completions of a prompt share its forward pass; pictures' features are computed once."""

    def __init__(self, row_tokens: int) -> None:
        """`row_tokens`: tokens, about, of a prompt and of the rollouts that share its row."""
        self._row_tokens = row_tokens
        self._vision = VisionCache()

    def prompts(self, model: Any, processor: Any, requests: Sequence[Request]) -> list[PromptInputs]:
        """See `Forward.prompts`."""
        with torch.no_grad():
            encoded = decode.encode(model, processor, requests, self._vision)
            return [packing.prompt_inputs(model, prompt) for prompt in encoded]

    def sample(
        self, policy: Any, processor: Any, requests: Sequence[Request], prompts: Sequence[PromptInputs]
    ) -> list[list[SampledTokens]]:
        """See `Forward.sample`. Prompts are encoded again; their pictures' features are not."""
        return decode.sample(policy, processor, requests, vision=self._vision)

    def parts(self, groups: Rows, tokens: int) -> tuple[Rows, ...]:
        """See `Forward.parts`: rows of like length."""
        return tuple(_by_length([row for group in groups for row in split_group(group, self._row_tokens)], tokens))

    def size(self, rows: Rows) -> int:
        """See `Forward.size`."""
        return len(rows) * max(map(_length, rows))

    def batch(self, rows: Rows, device: torch.device) -> PackedBatch:
        """See `Forward.batch`."""
        starts = np.cumsum([0, *map(len, rows)]).tolist()
        return packing.pack(
            [
                PackedRow(row[0].prompt, _completions(row, device), tuple(range(start, start + len(row))))
                for row, start in zip(rows, starts, strict=False)
            ]
        )

    def score(self, model: Any, batch: PackedBatch, temperature: float) -> tuple[Tensor, Tensor]:
        """See `Forward.score`."""
        return packing.score(model, batch, temperature)


class PaddedForward:
    """The model's own forward pass, on the completions of one prompt at a time."""

    def prompts(self, model: Any, processor: Any, requests: Sequence[Request]) -> list[ModelInputs]:
        """See `Forward.prompts`."""
        return list(general.encode(processor, requests))

    def sample(
        self, policy: Any, processor: Any, requests: Sequence[Request], prompts: Sequence[ModelInputs]
    ) -> list[list[SampledTokens]]:
        """See `Forward.sample`."""
        return general.sample(policy, prompts, requests)

    def parts(self, groups: Rows, tokens: int) -> tuple[Rows, ...]:
        """See `Forward.parts`: some completions of one prompt."""
        return tuple(part for group in groups for part in self._parts_of(group, tokens))

    def size(self, rows: Rows) -> int:
        """See `Forward.size`."""
        return sum(len(row) * _width(row) for row in rows)

    def batch(self, rows: Rows, device: torch.device) -> PaddedBatch:
        """See `Forward.batch`. `rows` is one of `parts`."""
        (row,) = rows
        return padding.pad(row[0].prompt, _completions(row, device))

    def score(self, model: Any, batch: PaddedBatch, temperature: float) -> tuple[Tensor, Tensor]:
        """See `Forward.score`."""
        return padding.score(model, batch, temperature)

    def _parts_of(self, group: Row, tokens: int) -> Iterator[Rows]:
        at_once = max(1, tokens // _width(group))
        for part in np.array_split(range(len(group)), math.ceil(len(group) / at_once)):
            yield [[group[i] for i in part]]


def forward_of(config: Any, row_tokens: int) -> Forward:
    """The fastest way for a model of this configuration."""
    return PackedForward(row_tokens) if has_fast_way(config) else PaddedForward()


def split_group(group: Row, tokens: int) -> list[Row]:
    """A group in rows of about equal numbers of rollouts and about `tokens` tokens, the prompt's included."""
    prompt = len(group[0].prompt.ids)
    count = math.ceil((_length(group) - prompt) / max(1, tokens - prompt))
    return [[group[i] for i in part] for part in np.array_split(range(len(group)), min(count, len(group)))]


def _by_length(rows: Rows, tokens: int) -> Iterator[Rows]:
    """Batches of rows of like length, with at most `tokens` tokens (padding included), or of one row."""
    batch: list[Row] = []
    for row in sorted(rows, key=_length, reverse=True):
        if batch and _length(batch[0]) * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _completions(row: Row, device: torch.device) -> tuple[Tensor, ...]:
    """The completion tokens of a row's rollouts: (C,) int64 each."""
    return tuple(torch.tensor(one.sample.ids, device=device) for one in row)


def _length(row: Row) -> int:
    """Tokens of a packed row: those of its prompt once, and those of its completions."""
    return len(row[0].prompt.ids) + sum(len(one.sample.ids) for one in row)


def _width(row: Row) -> int:
    """Tokens of a padded row: those of its prompt, and those of its longest completion."""
    return len(row[0].prompt.ids) + max(len(one.sample.ids) for one in row)
