"""Sampling from a torch Qwen2.5-VL, many requests at once: what `generate` does, several times faster.

`sample` serves the frozen engine and the trainer's rollouts alike: it reads the weights as they stand (a PEFT model's
active adapter included), so a model in training can be sampled between two optimiser steps.

Requests with the same sampling go together in waves of about `rows` completions, longest prompts first. A wave reads
each prompt once and grows all its completions by a token a step; finished rows are dropped, and the caches repacked,
once they make up a fifth of the wave.
"""

from __future__ import annotations

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

ROWS = 512
"""Completions in a wave."""
PREFILL_TOKENS = 4096
"""Prompt tokens read at once: keeps activations within a few times the CPU's cache, and bounds them on a GPU."""
KEEP = 0.8
"""Repack when fewer than this share of the rows still grow."""
ROOM = 16
"""Columns by which the rows' caches grow."""


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
    """`requests[i].n` samples each, in order, from the model as it stands (`Request.adapter` is not looked at).

    `model` is a Qwen2_5_VLForConditionalGeneration or a PeftModel around one; it is read, never changed. `vision` keeps
    image features between calls: pass one only while the vision tower does not change.
    """
    import torch

    with torch.inference_mode():
        plain = model.get_base_model() if hasattr(model, "get_base_model") else model
        encoded = encode(plain, processor, requests, vision or VisionCache())
        return decode(Decoder(model), plain, encoded, requests)


def encode(model: Any, processor: Any, requests: Sequence[Request], vision: VisionCache) -> list[Encoded]:
    """Token ids and image features of each request."""
    pictures = [request.picture for request in requests if request.picture is not None]
    seen = iter(vision.look(model, processor, pictures))
    visions = [None if request.picture is None else next(seen) for request in requests]
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
    """Samples of encoded requests. `model` gives M-RoPE positions and the end tokens; the weights are the decoder's.

    `on_done(k)` after k more completions.
    """
    results: list[list[SampledTokens]] = [[] for _ in requests]
    for wave in waves(requests, [len(one.ids) for one in encoded], rows):
        members = [requests[index] for index in wave]
        samples = _Wave(decoder, model, [encoded[index] for index in wave], members, on_done).run()
        for index, group in zip(wave, samples, strict=True):
            results[index] = group
    return results


def waves(requests: Sequence[Request], lengths: Sequence[int], rows: int) -> Iterator[list[int]]:
    """Indices of requests that are decoded together: one sampling, similar lengths, at most `rows` rows (or one
    request)."""
    order = sorted(range(len(requests)), key=lambda i: (_sampling_key(requests[i].sampling), -lengths[i]))
    for _, same in groupby(order, key=lambda i: requests[i].sampling):
        wave: list[int] = []
        size = 0
        for index in same:
            if wave and size + requests[index].n > rows:
                yield wave
                wave, size = [], 0
            wave.append(index)
            size += requests[index].n
        yield wave


def _sampling_key(sampling: Sampling) -> tuple[float, ...]:
    return (sampling.max_tokens, sampling.temperature, sampling.top_p, sampling.top_k)


class _Wave:
    """One batch of requests from prompt to end."""

    def __init__(
        self, decoder: Decoder, model: Any, encoded: list[Encoded], requests: list[Request], on_done: Progress | None
    ) -> None:
        import torch

        self._decoder = decoder
        self._requests = requests
        self._on_done = on_done
        self._sampling = requests[0].sampling
        self._device = decoder.device
        self._ends = torch.tensor(end_tokens(model), device=self._device)
        self._lengths = torch.tensor([len(one.ids) for one in encoded], device=self._device)
        self._prompts, self._logits, self._next = _read(decoder, model, encoded, self._lengths)
        counts = torch.tensor([request.n for request in requests], device=self._device)
        self._owner = torch.repeat_interleave(torch.arange(len(requests), device=self._device), counts)
        """(B,) the request of each row."""

    def run(self) -> list[list[SampledTokens]]:
        """Samples per request."""
        import torch

        limit, total = self._sampling.max_tokens, len(self._owner)
        numbers = self._uniforms(limit)
        ids = torch.zeros(limit, total, dtype=torch.long, device=self._device)
        logprobs = torch.zeros(limit, total, device=self._device)
        ended = torch.full((total,), limit, device=self._device)
        finished = torch.zeros(total, dtype=torch.bool, device=self._device)
        live = torch.arange(total, device=self._device)
        done = torch.zeros(total, dtype=torch.bool, device=self._device)
        cosine, sine = self._rotations(limit)
        position = self._next[self._owner]
        rows = self._place(self._owner, None, None)
        logits = self._logits[self._owner]
        reported = 0
        for step in range(limit):
            token, logprob = draw(logits, numbers[step, live], self._sampling)
            ids[step, live], logprobs[step, live] = token, logprob
            end = (token[:, None] == self._ends).any(-1) & ~done
            ended[live[end]] = step + 1
            finished[live[end]] = True
            done |= end
            growing = len(live) - int(done.sum())
            if growing == 0 or step + 1 == limit:
                break
            if growing < KEEP * len(live):
                keep = (~done).nonzero()[:, 0]
                live, token, position, done = live[keep], token[keep], position[keep], done[keep]
                rows = self._place(self._owner[live], rows, keep)
                reported = self._report(total - growing, reported)
            elif rows.length == rows.keys[0].shape[-1]:
                rows = self._place(self._owner[live], rows, torch.arange(len(live), device=self._device))
            logits = self._decoder.step(token, cosine[position, None], sine[position, None], self._prompts, rows)
            position = position + 1
        self._report(total, reported)
        return self._collect(ids, logprobs, ended, finished)

    def _uniforms(self, count: int) -> torch.Tensor:
        """(count, B)."""
        import torch

        numbers = [uniforms(request.seed, i, count) for request in self._requests for i in request.numbers]
        return torch.from_numpy(np.stack(numbers, 1)).to(self._device)

    def _rotations(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotations (positions, D) of generated tokens: text, so time, height and width are one position."""
        import torch

        positions = torch.arange(int(self._next.max()) + count, device=self._device)
        cosine, sine = self._decoder.rotation(positions.expand(3, 1, -1))
        return cosine[0], sine[0]

    def _place(self, owner: torch.Tensor, old: CompletionCache | None, keep: torch.Tensor | None) -> CompletionCache:
        """Caches for the rows of `owner`, with the kept rows' content and room for more columns."""
        import torch

        length = 0 if old is None else old.length
        counts = torch.bincount(owner, minlength=len(self._requests))
        width = int(counts.max())
        first = counts.cumsum(0) - counts
        rank = torch.arange(len(owner), device=self._device) - first[owner]
        full = len(owner) == width * len(self._requests)
        capacity = min(length + ROOM, self._sampling.max_tokens)
        decoder = self._decoder
        keys, values = [], []
        for layer in range(len(decoder.layers)):
            key = torch.empty(
                len(owner), decoder.kv_heads, decoder.head_size, capacity, dtype=decoder.dtype, device=self._device
            )
            value = torch.empty(
                len(owner), decoder.kv_heads, capacity, decoder.head_size, dtype=decoder.dtype, device=self._device
            )
            if old is not None and keep is not None:
                key[..., :length] = old.keys[layer][keep, ..., :length]
                value[:, :, :length] = old.values[layer][keep, :, :length]
            keys.append(key)
            values.append(value)
        return CompletionCache(keys, values, None if full else owner * width + rank, width, length)

    def _report(self, done: int, reported: int) -> int:
        if self._on_done is not None and done > reported:
            self._on_done(done - reported)
        return done

    def _collect(
        self, ids: torch.Tensor, logprobs: torch.Tensor, ended: torch.Tensor, finished: torch.Tensor
    ) -> list[list[SampledTokens]]:
        columns = zip(ids.T.tolist(), logprobs.T.tolist(), ended.tolist(), finished.tolist(), strict=True)
        samples = iter([SampledTokens(row[:end], logs[:end], whole) for row, logs, end, whole in columns])
        return [[next(samples) for _ in range(request.n)] for request in self._requests]


def _read(
    decoder: Decoder, model: Any, encoded: list[Encoded], lengths: torch.Tensor
) -> tuple[PromptCache, torch.Tensor, torch.Tensor]:
    """Read prompts, in slices: their caches, the first logits (R, V) and the next position (R,)."""
    import torch

    count, longest = len(encoded), int(lengths.max())
    prompts = _empty_prompts(decoder, lengths, longest)
    logits, following = [], []
    slice_size = max(1, PREFILL_TOKENS // longest)
    for start in range(0, count, slice_size):
        rows = slice(start, min(count, start + slice_size))
        embeds, positions, after = _assemble(decoder, model, encoded[rows], lengths[rows])
        logits.append(decoder.read(embeds, positions, lengths[rows], prompts, rows))
        following.append(after)
    return prompts, torch.cat(logits), torch.cat(following)


def _empty_prompts(decoder: Decoder, lengths: torch.Tensor, longest: int) -> PromptCache:
    import torch

    count, kv_heads, size = len(lengths), decoder.kv_heads, decoder.head_size
    like = decoder.embedding
    keys = [like.new_zeros(count, kv_heads, size, longest) for _ in decoder.layers]
    values = [like.new_zeros(count, kv_heads, longest, size) for _ in decoder.layers]
    padding = torch.arange(longest, device=decoder.device) >= lengths[:, None]
    bias = like.new_zeros(count, 1, 1, longest).masked_fill_(padding[:, None, None], float("-inf"))
    return PromptCache(keys, values, bias)


def _assemble(
    decoder: Decoder, model: Any, encoded: list[Encoded], lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Embeddings (R, P, C) with image features in place, positions (3, R, P) and the next position (R,)."""
    import torch

    longest = int(lengths.max())
    ids = torch.zeros(len(encoded), longest, dtype=torch.long)
    for row, one in enumerate(encoded):
        ids[row, : len(one.ids)] = torch.tensor(one.ids)
    ids = ids.to(decoder.device)
    inside = torch.arange(longest, device=decoder.device) < lengths[:, None]
    image = (ids == model.config.image_token_id) & inside
    embeds = decoder.embed(ids)
    visions = [one.vision for one in encoded if one.vision is not None]
    grids = None
    if visions:
        embeds = embeds.masked_scatter(image[..., None], torch.cat([vision.features for vision in visions]))
        grids = torch.tensor([vision.grid for vision in visions], device=decoder.device)
    positions, _ = model.model.get_rope_index(ids, image.int(), image_grid_thw=grids, attention_mask=inside.long())
    return embeds, positions, positions.amax((0, 2)) + 1


def end_tokens(model: Any) -> list[int]:
    """The ids that end a completion, as the model's generation config says."""
    ends = model.generation_config.eos_token_id
    return list(ends) if isinstance(ends, list) else [int(ends)]
