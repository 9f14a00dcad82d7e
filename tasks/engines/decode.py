"""Samples many requests at once from a torch Qwen2.5-VL: what transformers' `generate` does, several times faster.

`sample` serves the frozen engine and the trainer's rollouts alike. It reads the model's current weights (a PEFT model's
active adapter included), so a model in training can be sampled between two optimiser steps.

Requests with equal sampling settings go together in batches of about `rows` completions, longest prompts first. A batch
reads each prompt once (prefill), then grows all its completions by one token a step. Finished rows are dropped, and the
caches repacked, once they make up a fifth of the batch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.engines.decoder import CompletionCache, Decoder, PromptCache
from tasks.engines.inputs import Encoded, Encoder, VisionCache
from tasks.engines.request import Request, Sampling
from tasks.engines.sampling import draw, uniforms

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

ROWS = 512
"""Completions in a batch."""
PREFILL_TOKENS = 4096
"""Prompt tokens read at once: keeps activations within a few times the CPU's cache, and bounds them on a GPU."""
REPACK_BELOW = 0.8
"""The caches are repacked when fewer than this share of their rows is unfinished."""
CACHE_GROWTH = 16
"""Columns by which the completions' caches grow."""


@dataclass(frozen=True)
class SampledTokens:
    """One completion: its token ids (the end token included) and the policy's log-probability of each."""

    ids: list[int]
    logprobs: list[float]
    finished: bool
    """False when `max_tokens` cut it off: then the last id is no end token."""


Progress = Callable[[int], None]


def sample(
    model: Any, processor: Any, requests: Sequence[Request], *, vision: VisionCache | None = None
) -> list[list[SampledTokens]]:
    """`requests[i].n` samples each, in order, by the model's current weights. `Request.adapter` is ignored.

    `model` is a Qwen2_5_VLForConditionalGeneration or a PeftModel around one; it is read, never changed. `vision` keeps
    image features between calls: pass one only while the vision tower does not change.
    """
    import torch

    with torch.inference_mode():
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        encoded = encode(base, processor, requests, vision or VisionCache())
        return decode(Decoder(model), base, encoded, requests)


def encode(model: Any, processor: Any, requests: Sequence[Request], vision: VisionCache) -> list[Encoded]:
    """Token ids and image features of each request."""
    pictures = [request.picture for request in requests if request.picture is not None]
    features = iter(vision.features(model, processor, pictures))
    visions = [None if request.picture is None else next(features) for request in requests]
    return Encoder(processor).encode([request.prompt for request in requests], visions)


def decode(
    decoder: Decoder,
    model: Any,
    encoded: Sequence[Encoded],
    requests: Sequence[Request],
    *,
    rows: int = ROWS,
    on_done: Progress | None = None,
) -> list[list[SampledTokens]]:
    """Samples of encoded requests, in order, by the decoder's weights; at most `rows` completions at once.

    `model` gives M-RoPE positions and end tokens only. `on_done(k)` is called after k more completions.
    """
    results: list[list[SampledTokens]] = [[] for _ in requests]
    for indices in batches(requests, [len(prompt.ids) for prompt in encoded], rows):
        members, prompts = [requests[index] for index in indices], [encoded[index] for index in indices]
        for index, samples in zip(indices, _decode_batch(decoder, model, prompts, members, on_done), strict=True):
            results[index] = samples
    return results


def _decode_batch(
    decoder: Decoder, model: Any, encoded: list[Encoded], requests: list[Request], on_done: Progress | None
) -> list[list[SampledTokens]]:
    """Samples of one batch; where the GPU's memory is too small for it, of halves of it, one after the other.

    A completion depends on its request alone, so the samples are the same.
    """
    import torch

    reported: list[int] = []

    def report(count: int) -> None:
        reported.append(count)
        if on_done is not None:
            on_done(count)

    try:
        return _DecodeBatch(decoder, model, encoded, requests, report).run()
    except torch.OutOfMemoryError:
        if len(requests) == 1:
            raise
    report(-sum(reported))
    log.warning("out of memory: %d requests are sampled in two halves", len(requests))
    torch.cuda.empty_cache()
    half = len(requests) // 2
    first = _decode_batch(decoder, model, encoded[:half], requests[:half], on_done)
    return first + _decode_batch(decoder, model, encoded[half:], requests[half:], on_done)


def batches(requests: Sequence[Request], lengths: Sequence[int], rows: int) -> Iterator[list[int]]:
    """Indices of the requests of each batch: equal sampling, similar prompt lengths, at most `rows` completions.

    A request of more than `rows` completions is a batch of its own.
    """
    order = sorted(range(len(requests)), key=lambda i: (_sampling_key(requests[i].sampling), -lengths[i]))
    for _, same in groupby(order, key=lambda i: requests[i].sampling):
        batch: list[int] = []
        size = 0
        for index in same:
            if batch and size + requests[index].n > rows:
                yield batch
                batch, size = [], 0
            batch.append(index)
            size += requests[index].n
        yield batch


def _sampling_key(sampling: Sampling) -> tuple[float, ...]:
    return (sampling.max_tokens, sampling.temperature, sampling.top_p, sampling.top_k)


class _SampleTable:
    """Tokens and log-probabilities of B completions, filled one step at a time: (limit, B) tensors."""

    def __init__(self, limit: int, count: int, device: torch.device) -> None:
        import torch

        self._ids = torch.zeros(limit, count, dtype=torch.long, device=device)
        self._logprobs = torch.zeros(limit, count, device=device)
        self._lengths = torch.full((count,), limit, device=device)
        self._finished = torch.zeros(count, dtype=torch.bool, device=device)

    def write(
        self, step: int, rows: torch.Tensor, tokens: torch.Tensor, logprobs: torch.Tensor, ends: torch.Tensor
    ) -> None:
        """One token for each of the `rows` (L,); `ends` (L,) marks rows that finish with it."""
        self._ids[step, rows], self._logprobs[step, rows] = tokens, logprobs
        self._lengths[rows[ends]] = step + 1
        self._finished[rows[ends]] = True

    def samples(self) -> Iterator[SampledTokens]:
        """The completions, cut at their end tokens."""
        columns = (self._ids.T, self._logprobs.T, self._lengths, self._finished)
        for ids, logprobs, length, finished in zip(*(column.tolist() for column in columns), strict=True):
            yield SampledTokens(ids[:length], logprobs[:length], finished)


class _DecodeBatch:
    """One batch of R requests and their B completions, from prefill to end tokens."""

    def __init__(
        self, decoder: Decoder, model: Any, encoded: list[Encoded], requests: list[Request], on_done: Progress | None
    ) -> None:
        import torch

        self._decoder = decoder
        self._requests = requests
        self._on_done = on_done
        self._reported = 0
        self._sampling = requests[0].sampling
        self._device = decoder.device
        self._ends = torch.tensor(end_tokens(model), device=self._device)
        lengths = torch.tensor([len(prompt.ids) for prompt in encoded], device=self._device)
        self._prompts, self._logits, self._next_position = _prefill(decoder, model, encoded, lengths)
        counts = torch.tensor([request.n for request in requests], device=self._device)
        self._owner = torch.repeat_interleave(torch.arange(len(requests), device=self._device), counts)
        """(B,) the request of each row."""

    def run(self) -> list[list[SampledTokens]]:
        """Samples of each request.

        `live` (L,) are the rows still in the caches; `done` (L,) marks those of them that have finished. A finished
        row keeps growing until the next repacking; its further tokens are cut off.
        """
        import torch

        limit, total = self._sampling.max_tokens, len(self._owner)
        numbers = self._uniforms(limit)
        table = _SampleTable(limit, total, self._device)
        live = torch.arange(total, device=self._device)
        done = torch.zeros(total, dtype=torch.bool, device=self._device)
        cosine, sine = self._rotations(limit)
        position = self._next_position[self._owner]
        cache = self._repack(self._owner, None, None)
        logits = self._logits[self._owner]
        for step in range(limit):
            token, logprob = draw(logits, numbers[step, live], self._sampling)
            ends = (token[:, None] == self._ends).any(-1) & ~done
            table.write(step, live, token, logprob, ends)
            done |= ends
            unfinished = len(live) - int(done.sum())
            if unfinished == 0 or step + 1 == limit:
                break
            if unfinished < REPACK_BELOW * len(live):
                keep = (~done).nonzero()[:, 0]
                live, token, position, done = live[keep], token[keep], position[keep], done[keep]
                cache = self._repack(self._owner[live], cache, keep)
                self._report(total - unfinished)
            elif cache.length == cache.keys[0].shape[-1]:
                cache = self._repack(self._owner[live], cache, torch.arange(len(live), device=self._device))
            logits = self._decoder.step(token, cosine[position, None], sine[position, None], self._prompts, cache)
            position = position + 1
        self._report(total)
        samples = table.samples()
        return [[next(samples) for _ in range(request.n)] for request in self._requests]

    def _uniforms(self, count: int) -> torch.Tensor:
        """(count, B) float32: each completion's own random numbers."""
        import torch

        numbers = [uniforms(request.seed, i, count) for request in self._requests for i in request.numbers]
        return torch.from_numpy(np.stack(numbers, 1)).to(self._device)

    def _rotations(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotations (positions, D) of generated tokens: text, so time, height and width are one position."""
        import torch

        positions = torch.arange(int(self._next_position.max()) + count, device=self._device)
        cosine, sine = self._decoder.rotation(positions.expand(3, 1, -1))
        return cosine[0], sine[0]

    def _repack(self, owner: torch.Tensor, old: CompletionCache | None, keep: torch.Tensor | None) -> CompletionCache:
        """Caches for rows of the requests `owner` (L,): the rows `keep` of `old`, and room for more columns."""
        import torch

        length = 0 if old is None else old.length
        counts = torch.bincount(owner, minlength=len(self._requests))
        width = int(counts.max())
        first = counts.cumsum(0) - counts
        rank = torch.arange(len(owner), device=self._device) - first[owner]
        full = len(owner) == width * len(self._requests)
        capacity = min(length + CACHE_GROWTH, self._sampling.max_tokens)
        keys, values = [], []
        for layer in range(len(self._decoder.layers)):
            key, value = self._empty_cache(len(owner), capacity)
            if old is not None and keep is not None:
                key[..., :length] = old.keys[layer][keep, ..., :length]
                value[:, :, :length] = old.values[layer][keep, :, :length]
            keys.append(key)
            values.append(value)
        return CompletionCache(keys, values, None if full else owner * width + rank, width, length)

    def _empty_cache(self, count: int, capacity: int) -> tuple[torch.Tensor, torch.Tensor]:
        """One layer's keys (count, K, D, capacity) and values (count, K, capacity, D), not initialised."""
        heads, size = self._decoder.kv_heads, self._decoder.head_size
        like = self._decoder.embedding
        return like.new_empty(count, heads, size, capacity), like.new_empty(count, heads, capacity, size)

    def _report(self, done: int) -> None:
        """Calls `on_done` with the completions that finished since the last report."""
        if self._on_done is not None and done > self._reported:
            self._on_done(done - self._reported)
        self._reported = done


def _prefill(
    decoder: Decoder, model: Any, encoded: list[Encoded], lengths: torch.Tensor
) -> tuple[PromptCache, torch.Tensor, torch.Tensor]:
    """Reads prompts of these lengths (R,), in slices: their caches, first logits (R, V) and next positions (R,)."""
    import torch

    count, longest = len(encoded), int(lengths.max())
    prompts = _empty_prompts(decoder, lengths, longest)
    logits, next_positions = [], []
    slice_size = max(1, PREFILL_TOKENS // longest)
    for start in range(0, count, slice_size):
        rows = slice(start, min(count, start + slice_size))
        embeds, positions, following = _embed_prompts(decoder, model, encoded[rows], lengths[rows])
        logits.append(decoder.prefill(embeds, positions, lengths[rows], prompts, rows))
        next_positions.append(following)
    return prompts, torch.cat(logits), torch.cat(next_positions)


def _empty_prompts(decoder: Decoder, lengths: torch.Tensor, longest: int) -> PromptCache:
    """Zeroed prompt caches of `longest` columns, with the bias that hides padding."""
    import torch

    count, kv_heads, size = len(lengths), decoder.kv_heads, decoder.head_size
    like = decoder.embedding
    keys = [like.new_zeros(count, kv_heads, size, longest) for _ in decoder.layers]
    values = [like.new_zeros(count, kv_heads, longest, size) for _ in decoder.layers]
    padding = torch.arange(longest, device=decoder.device) >= lengths[:, None]
    bias = like.new_zeros(count, 1, 1, longest).masked_fill_(padding[:, None, None], float("-inf"))
    return PromptCache(keys, values, bias)


def _embed_prompts(
    decoder: Decoder, model: Any, encoded: list[Encoded], lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Embeddings (R, P, C) with image features in place, positions (3, R, P) and the next positions (R,)."""
    import torch

    longest = int(lengths.max())
    ids = torch.zeros(len(encoded), longest, dtype=torch.long)
    for row, prompt in enumerate(encoded):
        ids[row, : len(prompt.ids)] = torch.tensor(prompt.ids)
    ids = ids.to(decoder.device)
    inside = torch.arange(longest, device=decoder.device) < lengths[:, None]
    image = (ids == model.config.image_token_id) & inside
    embeds = decoder.embed(ids)
    visions = [prompt.vision for prompt in encoded if prompt.vision is not None]
    grids = None
    if visions:
        embeds = embeds.masked_scatter(image[..., None], torch.cat([vision.features for vision in visions]).to(embeds))
        grids = torch.tensor([vision.grid for vision in visions], device=decoder.device)
    positions, _ = model.model.get_rope_index(ids, image.int(), image_grid_thw=grids, attention_mask=inside.long())
    return embeds, positions, positions.amax((0, 2)) + 1


def end_tokens(model: Any) -> list[int]:
    """The token ids that end a completion, from the model's generation config."""
    ends = model.generation_config.eos_token_id
    return list(ends) if isinstance(ends, list) else [int(ends)]
