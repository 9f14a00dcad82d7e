"""Samples from any vision-language model by transformers' `generate`: the general way, beside the fast one of `decode`.

The prompts are those of the model's own processor. Tokens are drawn as in the fast way, by `sampling.draw` and the
uniform numbers of (seed, completion), so a completion depends on its request alone and both ways sample the same text.
A prompt is one `generate` for its completions: no prompt is padded, whatever inputs an architecture has. What this
costs: `make bench ARGS="tests/bench/test_training_bench.py -s"`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.engines.architecture import placeholders
from tasks.engines.decode import ROWS, SampledTokens, end_tokens
from tasks.engines.inputs import Encoder
from tasks.engines.request import Request, Sampling
from tasks.engines.sampling import draw, uniforms

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ModelInputs:
    """What a processor makes of one prompt with its picture: the model's inputs, on the host."""

    tensors: Mapping[str, torch.Tensor]

    @property
    def ids(self) -> torch.Tensor:
        """(P,) int64: the prompt's tokens, those of its picture included."""
        return self.tensors["input_ids"][0]

    def repeated(self, count: int, device: torch.device) -> dict[str, torch.Tensor]:
        """The inputs of `count` equal prompts. All architectures stack pictures along the first axis."""
        return {
            name: tensor.repeat(count, *[1] * (tensor.ndim - 1)).to(device) for name, tensor in self.tensors.items()
        }


def encode(processor: Any, requests: Iterable[Request]) -> Iterator[ModelInputs]:
    """The model's inputs for each request's prompt, one at a time: decoded pictures are large."""
    encoder = Encoder(processor)
    for request in requests:
        text = encoder.text(request.prompt, picture=request.picture is not None)
        images = {} if request.picture is None else {"images": [[request.picture.image]]}
        yield ModelInputs(dict(processor(text=[text], return_tensors="pt", add_special_tokens=False, **images)))


def sample(
    model: Any,
    prompts: Iterable[ModelInputs],
    requests: Sequence[Request],
    *,
    rows: int = ROWS,
    on_done: Callable[[int], None] | None = None,
) -> list[list[SampledTokens]]:
    """`requests[i].n` samples each by the model's current weights, at most `rows` of a request at once.

    `model` is any vision-language model of transformers or a PeftModel around one; `prompts` are those of `encode`.
    `Request.adapter` is ignored.
    """
    import torch

    results: list[list[SampledTokens]] = []
    with torch.inference_mode():
        for request, inputs in zip(requests, prompts, strict=True):
            starts = range(request.first, request.numbers.stop, rows)
            parts = [replace(request, first=start, n=min(rows, request.numbers.stop - start)) for start in starts]
            results.append([one for part in parts for one in _sample_part(model, inputs, part)])
            if on_done is not None:
                on_done(request.n)
    return results


def _sample_part(model: Any, inputs: ModelInputs, request: Request) -> list[SampledTokens]:
    """The request's samples in one `generate`; where the GPU's memory is too small for it, in two halves."""
    import torch

    try:
        return _generate(model, inputs, request)
    except torch.OutOfMemoryError:
        if request.n == 1:
            raise
    log.warning("out of memory: %d completions are sampled in two halves", request.n)
    torch.cuda.empty_cache()
    half = request.n // 2
    first, second = replace(request, n=half), replace(request, n=request.n - half, first=request.first + half)
    return _sample_part(model, inputs, first) + _sample_part(model, inputs, second)


def _generate(model: Any, inputs: ModelInputs, request: Request) -> list[SampledTokens]:
    """The request's samples. An adapter's layers lie in the base model, so its `generate` has them."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    ends = end_tokens(base)
    chosen = _ChosenTokens(request, placeholders(base.config), base.device)
    with _without_defaults(base):
        base.generate(
            **inputs.repeated(request.n, base.device),
            max_new_tokens=request.sampling.max_tokens,
            eos_token_id=ends,
            pad_token_id=ends[0],
            logits_processor=[chosen],
        )
    return chosen.samples(ends)


@contextmanager
def _without_defaults(model: Any) -> Iterator[None]:
    """`generate` fills in what was saved with the model, such as a repetition penalty; not within the block."""
    from transformers import GenerationConfig

    saved = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = saved


class _ChosenTokens:
    """A logits processor that draws each row's token itself, and leaves it as the only possible one."""

    def __init__(self, request: Request, hidden: Sequence[int], device: torch.device) -> None:
        import torch

        self._sampling: Sampling = request.sampling
        self._hidden = torch.tensor(hidden, dtype=torch.long, device=device)
        numbers = [uniforms(request.seed, i, request.sampling.max_tokens) for i in request.numbers]
        self._uniforms = torch.from_numpy(np.stack(numbers, 1)).to(device)
        self._tokens: list[torch.Tensor] = []
        self._logprobs: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Called by `generate` with the logits (rows, V) of the next token."""
        logits = scores.float().index_fill(-1, self._hidden, float("-inf"))
        token, logprob = draw(logits, self._uniforms[len(self._tokens)], self._sampling)
        self._tokens.append(token)
        self._logprobs.append(logprob)
        return logits.fill_(float("-inf")).scatter_(-1, token[:, None], 0.0)

    def samples(self, ends: Sequence[int]) -> list[SampledTokens]:
        """The rows' tokens up to their first end token. A row that has ended goes on until all rows have."""
        import torch

        tokens, logprobs = torch.stack(self._tokens, 1).tolist(), torch.stack(self._logprobs, 1).tolist()
        return [_cut(ids, values, ends) for ids, values in zip(tokens, logprobs, strict=True)]


def _cut(ids: list[int], logprobs: list[float], ends: Sequence[int]) -> SampledTokens:
    length = next((number for number, token in enumerate(ids, 1) if token in ends), None)
    return SampledTokens(ids[:length], logprobs[:length], length is not None)
