"""Computes log-probabilities of rollouts, with a prompt computed once for several of its rollouts.

A row is one prompt followed by several of its completions. A completion's tokens attend to the prompt and to their own
past, not to other completions, and their positions continue the prompt's. So a token has the log-probability that it
has in a sequence of its own. With 9 rollouts of 24 tokens after a prompt of 36 a row has 252 tokens instead of 540. The
frozen vision tower runs once per prompt, and the head runs on completion tokens alone.

This relies on Qwen2.5-VL's parts: `model.language_model`, `model.get_rope_index`, `model.get_image_features`.
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
"""Segment numbers of a row's tokens: 0 for the prompt, 1, 2 ... for its completions, -1 for padding at the end."""

IMPOSSIBLE = -1e9
"""The logit of an impossible token; finite, so that 0 x log 0 is 0 in the entropy."""

HEAD_BYTES = 160 << 20
"""Bytes of one float32 table of logits, of which four are in memory at once: 256 tokens of 152 064 words."""


@dataclass(frozen=True, eq=False)
class PromptInputs:
    """A prompt as input of the language model, with its picture's features."""

    ids: Tensor
    """(P,) int64, with one image token per visual token."""
    positions: Tensor
    """(3, P) int64: time, height and width of M-RoPE."""
    features: Tensor
    """(V, hidden), on the host: the frozen vision tower's output; V is 0 without a picture."""
    visual: Tensor
    """(P,) bool: the V tokens whose embeddings the features replace."""


@dataclass(frozen=True, eq=False)
class PackedRow:
    """A prompt and some of its completions."""

    prompt: PromptInputs
    completions: tuple[Tensor, ...]
    """(C,) int64 each, the end token included where there is one."""
    numbers: tuple[int, ...]
    """The completions' row numbers in the micro-batch's (rollouts, tokens) tables."""


@dataclass(frozen=True, eq=False)
class PackedBatch:
    """R rows padded to L tokens, and the positions from which their T completion tokens are predicted."""

    ids: Tensor
    """(R, L) int64."""
    positions: Tensor
    """(3, R, L) int64."""
    segments: Tensor
    """(R, L) int64: `PROMPT`, a completion's number from 1 on, or `PADDING`."""
    features: Tensor
    """(visual tokens of all rows, hidden)."""
    visual: Tensor
    """(R, L) bool: the tokens whose embeddings the features replace."""
    source: tuple[Tensor, Tensor]
    """Row and column of the token before each completion token: 2 x (T,) int64."""
    target: Tensor
    """(T,) int64: the completion tokens."""
    cell: tuple[Tensor, Tensor]
    """Row (rollout) and column (token) of each completion token in the tables of `score`: 2 x (T,) int64."""
    shape: tuple[int, int]
    """(rollouts, longest completion): the size of the tables of `score`."""


def prompt_inputs(model: Any, prompt: Encoded) -> PromptInputs:
    """An engine's encoded prompt with its M-RoPE positions. `model` is a Qwen2.5-VL, not a PeftModel around one."""
    ids = torch.tensor(prompt.ids, device=model.device)
    if prompt.vision is None:
        no_features = torch.empty(0, model.config.get_text_config().hidden_size)
        return PromptInputs(ids, _text_positions(ids, 0), no_features, torch.zeros_like(ids, dtype=torch.bool))
    visual = ids == model.config.image_token_id
    grid = torch.tensor([prompt.vision.grid], device=model.device)
    positions = model.model.get_rope_index(ids[None], visual[None].int(), grid)[0][:, 0]
    return PromptInputs(ids, positions, prompt.vision.features, visual)


def pack(rows: Sequence[PackedRow]) -> PackedBatch:
    """Rows as one batch. The numbers of all their completions must be 0 .. n - 1 in some order."""
    ids = pad_sequence([torch.cat([row.prompt.ids, *row.completions]) for row in rows], batch_first=True)
    segments = pad_sequence([_segments(row) for row in rows], batch_first=True, padding_value=PADDING)
    positions = pad_sequence([_row_positions(row).T for row in rows], batch_first=True).permute(2, 0, 1)
    visual = pad_sequence([row.prompt.visual for row in rows], batch_first=True)
    indices = [index for number, row in enumerate(rows) for index in _token_indices(number, row)]
    line, source, rollout, token = (torch.cat(column) for column in zip(*indices, strict=True))
    lengths = [len(completion) for row in rows for completion in row.completions]
    return PackedBatch(
        ids=ids,
        positions=positions,
        segments=segments,
        features=torch.cat([row.prompt.features.to(ids.device) for row in rows]),
        visual=torch.nn.functional.pad(visual, (0, ids.shape[1] - visual.shape[1])),
        source=(line, source),
        target=torch.cat([completion for row in rows for completion in row.completions]),
        cell=(rollout, token),
        shape=(len(lengths), max(lengths)),
    )


def score(model: Any, batch: PackedBatch, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probability of each completion token at `temperature`, and the entropy (without gradient) there.

    Both are float32 (rollouts, longest completion), zero beyond a completion's end. `model` is a Qwen2.5-VL, not a
    PeftModel around one; active adapter layers inside it are applied.
    """
    embeddings = model.get_input_embeddings()(batch.ids)
    embeddings = embeddings.masked_scatter(batch.visual[..., None], batch.features.to(embeddings.dtype))
    hidden = model.model.language_model(
        inputs_embeds=embeddings,
        position_ids=batch.positions,
        attention_mask=_attention(batch.segments),
        use_cache=False,
    ).last_hidden_state
    placeholders = torch.tensor([model.config.image_token_id, model.config.video_token_id], device=hidden.device)
    head = model.get_output_embeddings()
    logps, entropies = score_tokens(head, placeholders, hidden[batch.source], batch.target, temperature)
    return _table(logps, batch), _table(entropies, batch)


def _attention(segments: Tensor) -> dict[str, Tensor] | None:
    """The mask (R, 1, L, L) bool, in the form of the language model; None where causal attention is the same.

    A token attends to earlier tokens of the prompt and of its own completion.
    """
    if segments.max() <= 1:
        return None
    query, key = segments[:, :, None], segments[:, None, :]
    length = segments.shape[1]
    before = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    return {"full_attention": (((key == PROMPT) | (key == query)) & before)[:, None]}


def score_tokens(
    head: Any, placeholders: Tensor, hidden: Tensor, target: Tensor, temperature: float, cap: float | None = None
) -> tuple[Tensor, Tensor]:
    """Log-probability of `target` (T,) and entropy at each state of `hidden` (T, hidden): (T,) float32 each.

    Image and video placeholders have probability 0, as in the sampler. `cap`: the soft limit of some models' logits.
    The logits of more than `HEAD_BYTES` are computed in slices, and again in the backward pass.
    """

    def chunk(states: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        logits = head(states).float()
        if cap is not None:
            logits = cap * torch.tanh(logits / cap)
        logps = torch.log_softmax(logits.index_fill_(-1, placeholders, IMPOSSIBLE) / temperature, dim=-1)
        with torch.no_grad():
            entropies = -(logps.exp() * logps).sum(-1)
        return logps.gather(-1, words[:, None])[:, 0], entropies

    at_once = max(1, HEAD_BYTES // (4 * int(head.weight.shape[0])))
    if len(target) <= at_once:
        return chunk(hidden, target)
    slices = zip(torch.split(hidden, at_once), torch.split(target, at_once), strict=True)
    results = [checkpoint(chunk, states, words, use_reentrant=False) for states, words in slices]
    return torch.cat([logps for logps, _ in results]), torch.cat([entropies for _, entropies in results])


def _table(values: Tensor, batch: PackedBatch) -> Tensor:
    """Values of completion tokens (T,) as a table (rollouts, longest completion), zero elsewhere."""
    return values.new_zeros(batch.shape).index_put(batch.cell, values)


def _segments(row: PackedRow) -> Tensor:
    """The segment number of each token of a row, int64."""
    lengths = torch.tensor([len(row.prompt.ids), *map(len, row.completions)])
    return torch.repeat_interleave(torch.arange(len(lengths)), lengths).to(row.prompt.ids.device)


def _row_positions(row: PackedRow) -> Tensor:
    """M-RoPE positions (3, tokens of the row): each completion continues the prompt's."""
    start = int(row.prompt.positions.max()) + 1
    return torch.cat([row.prompt.positions, *(_text_positions(ids, start) for ids in row.completions)], dim=1)


def _token_indices(line: int, row: PackedRow) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """For each completion of row `line`, (C,) each: row, columns that predict its tokens, its number, token indices."""
    last = len(row.prompt.ids) - 1
    start = last + 1
    for number, ids in zip(row.numbers, row.completions, strict=True):
        tokens = torch.arange(len(ids), device=ids.device)
        columns = start + tokens - 1
        columns[0] = last
        yield torch.full_like(tokens, line), columns, torch.full_like(tokens, number), tokens
        start += len(ids)


def _text_positions(ids: Tensor, start: int) -> Tensor:
    """Positions (3, len(ids)) from `start` on: text has one position on all three axes."""
    return torch.arange(start, start + len(ids), device=ids.device).expand(3, -1)
