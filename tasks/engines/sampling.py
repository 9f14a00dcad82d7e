"""Sampling of the next token from logits: temperature, top-k, top-p, and random numbers that belong to one completion.

Token t of completion i is the inverse of the cumulative distribution at one uniform number from Philox (a counter-based
generator) keyed by (request seed, i). So a completion does not depend on the other rows of its batch, on the batch's
size or on the process that samples it, up to the rounding of the logits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tasks.engines.request import Sampling

if TYPE_CHECKING:
    import torch

NUCLEUS = 128
"""Candidates that top-p sorts before it sorts all: of 256 x 1000 logits, all take 13 ms on a core, the best 128 take
3.6 ms."""


def uniforms(seed: int, i: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """`count` numbers in [0, 1), float32: the randomness of completion `i` of a request with this seed."""
    key = np.array([seed % 2**64, i], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).random(count, dtype=np.float32)


def draw(logits: torch.Tensor, uniform: torch.Tensor, sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (B,) and their log-probabilities (B,) from logits (B, V) and one uniform number a row (B,).

    The log-probability is that of the whole distribution at the sampling temperature (at 1 when greedy), before top-k
    and top-p cut it: the policy's own probability of the token.
    """
    if sampling.temperature == 0:
        token = logits.argmax(-1)
        return token, _column(logits.float().log_softmax(-1), token)
    probabilities = (logits.float() / sampling.temperature).softmax(-1)
    if sampling.top_k == 0 and sampling.top_p >= 1:
        token = _inverse_cumulative(probabilities, uniform)
    else:
        token = _draw_truncated(probabilities, uniform, sampling)
    return token, _column(probabilities, token).log()


def _column(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """`values[b, index[b]]` of each row: (B, V) and (B,) give (B,)."""
    return values.gather(-1, index[:, None])[:, 0]


def _draw_truncated(probabilities: torch.Tensor, uniform: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Tokens (B,) from the distribution that top-k and top-p leave."""
    best, tokens = _candidates(probabilities, sampling)
    if sampling.top_p < 1:
        total = best.sum(-1, keepdim=True)
        before = best.cumsum(-1) - best
        best = best.where(before < sampling.top_p * total, 0.0)
    return _column(tokens, _inverse_cumulative(best, uniform))


def _candidates(probabilities: torch.Tensor, sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    """The top-k probabilities (B, K), or enough to hold the nucleus, in falling order, and their tokens (B, K)."""
    size = probabilities.shape[-1]
    if sampling.top_k > 0:
        values, index = probabilities.topk(min(sampling.top_k, size))
        return values, index
    values, index = probabilities.topk(min(NUCLEUS, size))
    if bool((values.sum(-1) < sampling.top_p).any()):
        values, index = probabilities.sort(dim=-1, descending=True)
    return values, index


def _inverse_cumulative(weights: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """The first index (B,) whose cumulative weight exceeds `uniform` x total; never one of weight zero."""
    import torch

    cumulative = weights.cumsum(-1)
    total = cumulative[:, -1:]
    below_total = torch.nextafter(total, torch.zeros_like(total))
    target = torch.minimum(uniform[:, None] * total, below_total)
    return torch.searchsorted(cumulative, target, right=True)[:, 0]
