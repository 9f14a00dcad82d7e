"""Computes log-probabilities of rollouts by the model's own layers: the general way, beside `packing`.

The completions of one prompt are one batch: the prompt's inputs once a row, then each completion, padded at its end. So
no prompt is padded, and whatever inputs an architecture has for pictures are repeated as they are. What `packing` saves
is paid here: prompt and picture are computed once a completion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from tasks.engines.architecture import placeholders
from tasks.engines.general import ModelInputs
from tasks.trainers.packing import score_tokens


@dataclass(frozen=True, eq=False)
class PaddedBatch:
    """One prompt and N of its completions, the longest of C tokens."""

    inputs: dict[str, Tensor]
    """The model's inputs: N prompts, each with its completion."""
    words: Tensor
    """(N, C) int64: the completions' tokens, 0 beyond their ends."""
    cell: tuple[Tensor, Tensor]
    """Row and column of each completion token in the tables of `score`: 2 x (T,) int64."""

    @property
    def shape(self) -> tuple[int, int]:
        """(N, C): the size of the tables of `score`."""
        return (self.words.shape[0], self.words.shape[1])


def pad(prompt: ModelInputs, completions: Sequence[Tensor]) -> PaddedBatch:
    """A prompt and its completions, (C,) int64 each, as one batch on the completions' device.

    Tensors with one value a token (ids, masks, token types) go on over the completion; all others belong to pictures.
    """
    words = pad_sequence(list(completions), batch_first=True)
    inside = pad_sequence([torch.ones_like(completion) for completion in completions], batch_first=True)
    inputs = prompt.repeated(len(completions), words.device)
    a_token = (1, len(prompt.ids))
    for name, tensor in prompt.tensors.items():
        if tuple(tensor.shape) == a_token and not tensor.is_floating_point():
            more = {"input_ids": words, "attention_mask": inside}.get(name, torch.zeros_like(words))
            inputs[name] = torch.cat([inputs[name], more.to(tensor.dtype)], 1)
    row, column = inside.nonzero(as_tuple=True)
    return PaddedBatch(inputs, words, (row, column))


def score(model: Any, batch: PaddedBatch, temperature: float) -> tuple[Tensor, Tensor]:
    """See `packing.score`. `model` is any vision-language model, not a PeftModel around one."""
    states = model.base_model(**batch.inputs, use_cache=False).last_hidden_state[:, -batch.shape[1] - 1 : -1]
    hidden = torch.tensor(placeholders(model.config), dtype=torch.long, device=states.device)
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    head, words = model.get_output_embeddings(), batch.words[batch.cell]
    logps, entropies = score_tokens(head, hidden, states[batch.cell], words, temperature, cap)
    return _table(logps, batch), _table(entropies, batch)


def _table(values: Tensor, batch: PaddedBatch) -> Tensor:
    """Values of completion tokens (T,) as a table (N, C), zero elsewhere."""
    return values.new_zeros(batch.shape).index_put(batch.cell, values)
