"""Log-probabilities of rollouts, with a prompt computed once for all of its rollouts.

A row is one prompt followed by several of its completions. A completion's tokens see the prompt and their own past,
not the other completions, and take the positions that follow the prompt; so a token's log-probability is what it would
be in a sequence of its own. With 9 rollouts of 24 tokens after a prompt of 36 a row has 252 tokens instead of 540. The
frozen vision tower runs once per prompt, and the head runs on completion tokens alone.

Made for Qwen2.5-VL's layout: `model.language_model`, `model.get_rope_index`, `model.get_image_features`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from tasks.engines.inputs import Encoded

PROMPT, PADDING = 0, -1
"""Segments of a row: the prompt, then 1, 2 ... for its completions; padding at the end."""

IMPOSSIBLE = -1e9
"""A logit without probability; finite, so that 0 x log 0 is 0 in the entropy."""

HEAD_TOKENS = 4096
"""Tokens whose logits are held at once: 4096 x 152 000 words x 4 bytes = 2.5 GB for the large model."""


@dataclass(frozen=True, eq=False)
class Context:
    """A prompt as the language model reads it, its picture already seen."""

    ids: Tensor
    """(P,) int64, with one image token per visual token."""
    positions: Tensor
    """(3, P) int64: time, height and width of M-RoPE."""
    features: Tensor
    """(V, hidden): what the frozen vision tower makes of the picture; V is 0 without one."""
    visual: Tensor
    """(P,) bool: the V tokens that the features replace."""


@dataclass(frozen=True, eq=False)
class PackedRow:
    """A prompt and some of its completions; `numbers` are the completions' places in the micro-batch's tables."""

    prompt: Context
    completions: tuple[Tensor, ...]
    """(C,) int64 each, the end token included where there is one."""
    numbers: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Pack:
    """Rows side by side, padded to L tokens, and where each of the T completion tokens is predicted from."""

    ids: Tensor
    """(R, L) int64."""
    positions: Tensor
    """(3, R, L) int64."""
    segments: Tensor
    """(R, L) int64."""
    features: Tensor
    """(visual tokens of all rows, hidden)."""
    visual: Tensor
    """(R, L) bool: where the features go."""
    source: tuple[Tensor, Tensor]
    """PackedRow and column of the token before each completion token: 2 x (T,) int64."""
    target: Tensor
    """(T,) int64: the completion tokens."""
    place: tuple[Tensor, Tensor]
    """Rollout and place in its completion: 2 x (T,) int64."""
    shape: tuple[int, int]
    """(rollouts, longest completion) of the tables that `score` returns."""


def context(model: Any, prompt: Encoded) -> Context:
    """An engine's encoded prompt with its M-RoPE positions. `model` is the bare Qwen2.5-VL."""
    ids = torch.tensor(prompt.ids, device=model.device)
    if prompt.vision is None:
        nothing = torch.empty(0, model.config.get_text_config().hidden_size, device=model.device)
        return Context(ids, _text_positions(ids, 0), nothing, torch.zeros_like(ids, dtype=torch.bool))
    visual = ids == model.config.image_token_id
    grid = torch.tensor([prompt.vision.grid], device=model.device)
    positions = model.model.get_rope_index(ids[None], visual[None].int(), grid)[0][:, 0]
    return Context(ids, positions, prompt.vision.features, visual)


def pack(rows: Sequence[PackedRow]) -> Pack:
    """Rows as one batch. The numbers of their completions must be 0 .. n - 1 in some order."""
    ids = pad_sequence([torch.cat([row.prompt.ids, *row.completions]) for row in rows], batch_first=True)
    segments = pad_sequence([_segments(row) for row in rows], batch_first=True, padding_value=PADDING)
    positions = pad_sequence([_row_positions(row).T for row in rows], batch_first=True).permute(2, 0, 1)
    visual = pad_sequence([row.prompt.visual for row in rows], batch_first=True)
    spots = [spot for number, row in enumerate(rows) for spot in _spots(number, row)]
    line, source, rollout, place = (torch.cat(column) for column in zip(*spots, strict=True))
    lengths = [len(completion) for row in rows for completion in row.completions]
    return Pack(
        ids=ids,
        positions=positions,
        segments=segments,
        features=torch.cat([row.prompt.features for row in rows]),
        visual=torch.nn.functional.pad(visual, (0, ids.shape[1] - visual.shape[1])),
        source=(line, source),
        target=torch.cat([completion for row in rows for completion in row.completions]),
        place=(rollout, place),
        shape=(len(lengths), max(lengths)),
    )


def score(model: Any, batch: Pack, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probability of each completion token at `temperature`, and the entropy there without gradient.

    Both (rollouts, longest completion) float32, zero beyond a completion's end. `model` is the bare Qwen2.5-VL; active
    adapter layers inside it take part.
    """
    embeddings = model.get_input_embeddings()(batch.ids)
    embeddings = embeddings.masked_scatter(batch.visual[..., None], batch.features.to(embeddings.dtype))
    hidden = model.model.language_model(
        inputs_embeds=embeddings,
        position_ids=batch.positions,
        attention_mask=_attention(batch.segments),
        use_cache=False,
    ).last_hidden_state
    never = torch.tensor([model.config.image_token_id, model.config.video_token_id], device=hidden.device)
    logps, entropies = _head(model.get_output_embeddings(), never, hidden[batch.source], batch.target, temperature)
    return _table(logps, batch), _table(entropies, batch)


def _attention(segments: Tensor) -> dict[str, Tensor] | None:
    """(R, 1, L, L) bool, as the language model takes a finished mask; None where plain causal attention says the same.

    A token sees what stands before it in the prompt and in its own completion.
    """
    if segments.max() <= 1:
        return None
    query, key = segments[:, :, None], segments[:, None, :]
    length = segments.shape[1]
    before = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    return {"full_attention": (((key == PROMPT) | (key == query)) & before)[:, None]}


def _head(head: Any, never: Tensor, hidden: Tensor, target: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Per token of (T, hidden): log-probability of `target` and entropy, (T,) float32 each.

    The tokens `never` (a picture's placeholders) have probability 0, as they have for the sampler.
    """

    def chunk(states: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        logits = head(states).float().index_fill_(-1, never, IMPOSSIBLE)
        logps = torch.log_softmax(logits / temperature, dim=-1)
        with torch.no_grad():
            entropies = -(logps.exp() * logps).sum(-1)
        return logps.gather(-1, words[:, None])[:, 0], entropies

    if len(target) <= HEAD_TOKENS:
        return chunk(hidden, target)
    pieces = zip(torch.split(hidden, HEAD_TOKENS), torch.split(target, HEAD_TOKENS), strict=True)
    done = [checkpoint(chunk, states, words, use_reentrant=False) for states, words in pieces]
    return torch.cat([logps for logps, _ in done]), torch.cat([entropies for _, entropies in done])


def _table(values: Tensor, batch: Pack) -> Tensor:
    return values.new_zeros(batch.shape).index_put(batch.place, values)


def _segments(row: PackedRow) -> Tensor:
    lengths = torch.tensor([len(row.prompt.ids), *map(len, row.completions)])
    return torch.repeat_interleave(torch.arange(len(lengths)), lengths).to(row.prompt.ids.device)


def _row_positions(row: PackedRow) -> Tensor:
    """(3, row): each completion goes on where the prompt ends."""
    start = int(row.prompt.positions.max()) + 1
    return torch.cat([row.prompt.positions, *(_text_positions(ids, start) for ids in row.completions)], dim=1)


def _spots(line: int, row: PackedRow) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Per completion: its row, the columns that predict its tokens, its number, and the places of its tokens."""
    last = len(row.prompt.ids) - 1
    start = last + 1
    for number, ids in zip(row.numbers, row.completions, strict=True):
        places = torch.arange(len(ids), device=ids.device)
        columns = start + places - 1
        columns[0] = last
        yield torch.full_like(places, line), columns, torch.full_like(places, number), places
        start += len(ids)


def _text_positions(ids: Tensor, start: int) -> Tensor:
    """(3, len(ids)): text has one position on all three axes."""
    return torch.arange(start, start + len(ids), device=ids.device).expand(3, -1)
