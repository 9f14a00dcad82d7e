"""Memory of the inference engine.

The transformers engine takes what its batches need. In the fast way (`tasks.engines.decode`) caches hold prompts once a
request, and completions twice, because a growing cache is copied. vLLM takes a share of the card, and its KV cache is
what the rest of the share leaves; its terms are estimates, since vLLM was not run on a GPU here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.config import RunConfig
from tasks.engines import VLLM, Transformers
from tasks.engines.decode import PREFILL_TOKENS
from tasks.engines.inputs import TOWER_PIXELS
from tasks.memory.cards import GIB, Card
from tasks.memory.formulas import (
    feature_bytes,
    inference_bytes,
    kv_bytes,
    logits_bytes,
    tower_bytes,
    visual_tokens,
)
from tasks.memory.shape import BYTES, ModelShape, adapter_parameters
from tasks.memory.terms import MemoryTerms, Phase
from tasks.memory.work import SampledRole, max_pixels

PROCESS = GIB // 2
"""A CUDA context with cuBLAS's workspace; without a GPU, the libraries of a process. An estimate."""
CUDA_GRAPHS = GIB // 2
"""vLLM's CUDA graphs. An estimate."""
LOGIT_TABLES = 3
"""Tables of logits alive while a token is drawn (`tasks.engines.sampling.draw`)."""
LARGE_CARD = 70 * GIB
"""From this size on vLLM reads 16384 tokens at once, below it 8192 (its defaults for `LLM`)."""


@dataclass(frozen=True)
class VLLMMemory:
    """One vLLM engine on a card."""

    terms: MemoryTerms
    shortage: int
    """Bytes by which its share is too small for the weights and one sequence of `max_model_len` tokens."""


def vllm_memory(config: VLLM, run: RunConfig, shape: ModelShape, card: Card) -> VLLMMemory:
    """One engine with `gpu_memory_utilization` of the card; more than its share where the share is too small."""
    size, language = BYTES.get(config.dtype, 2), shape.language
    cards = config.tensor_parallel_size
    batch = 16_384 if card.total >= LARGE_CARD else 8_192
    pixels = max(batch * shape.vision.pixels_per_token, max_pixels(run, shape))
    fixed = MemoryTerms(
        weights=shape.parameters * size // cards,
        adapters=config.max_loras * adapter_parameters(language, config.max_lora_rank, None) * size // cards,
        vision=feature_bytes(shape.vision, batch, size),
        head=2 * logits_bytes(language, config.max_num_seqs) // cards,
        activations=max(inference_bytes(language, batch, size), tower_bytes(shape.vision, pixels, size)) // cards,
        contexts=PROCESS + (0 if config.enforce_eager else CUDA_GRAPHS),
    )
    rest = int(config.gpu_memory_utilization * card.total) - fixed.total
    least = config.max_model_len * kv_bytes(language, size) // cards
    return VLLMMemory(fixed + MemoryTerms(kv_cache=max(rest, least)), max(0, least - rest))


def number_size(config: Transformers, on_gpu: bool) -> int:
    """Bytes of a number in the transformers engine."""
    return (2 if on_gpu else 4) if config.dtype == "auto" else BYTES[config.dtype]


def torch_memory(config: Transformers, shape: ModelShape, on_gpu: bool, models: int, roles: int) -> MemoryTerms:
    """What the transformers engine holds between batches: its models and, in float32, each role's merged weights."""
    size, copies = number_size(config, on_gpu), config.model_copies
    merged = 4 * shape.language.linear_parameters * roles * copies if size == 4 and shape.is_fast else 0
    return MemoryTerms(
        weights=models * copies * shape.parameters * size,
        adapters=merged,
        contexts=copies * PROCESS if copies > 1 else 0,
    )


def decode_phase(name: str, shape: ModelShape, role: SampledRole, rows: int, size: int) -> Phase:
    """A batch of about `rows` completions of a role, which is halved where memory is short.

    The fast way (`tasks.engines.decode`) batches requests, at least one with all its completions. The general way
    (`tasks.engines.general`) takes one request, at least one of its completions.
    """
    if not shape.is_fast:
        return Phase(name, _general_batch(shape, role, min(rows, role.n), size), _general_batch(shape, role, 1, size))
    requests = max(1, rows // role.n)
    return Phase(name, _fast_batch(shape, role, requests, size), _fast_batch(shape, role, 1, size))


def _fast_batch(shape: ModelShape, role: SampledRole, requests: int, size: int) -> MemoryTerms:
    """So many requests, whose prompts are read in slices of `PREFILL_TOKENS`."""
    language, rows = shape.language, requests * role.n
    cached = requests * role.prompt + 2 * rows * role.tokens
    read = min(requests * role.prompt, max(PREFILL_TOKENS, role.prompt))
    return MemoryTerms(
        kv_cache=cached * kv_bytes(language, size),
        head=LOGIT_TABLES * logits_bytes(language, rows),
        activations=inference_bytes(language, read, size),
    )


def _general_batch(shape: ModelShape, role: SampledRole, rows: int, size: int) -> MemoryTerms:
    """So many completions of one request, each with a prompt of its own."""
    language = shape.language
    return MemoryTerms(
        kv_cache=rows * (role.prompt + role.tokens) * kv_bytes(language, size),
        head=LOGIT_TABLES * logits_bytes(language, rows),
        activations=inference_bytes(language, rows * role.prompt, size),
    )


def encode_phase(run: RunConfig, shape: ModelShape, size: int, pictures: int) -> Phase:
    """The vision tower on a batch of pictures, which is halved down to one picture.

    The fast way reads `TOWER_PIXELS` at once, the general way the picture of each of its `pictures` rows.
    """
    largest = max_pixels(run, shape)

    def terms(pixels: int) -> MemoryTerms:
        features = feature_bytes(shape.vision, visual_tokens(shape.vision, pixels), size)
        return MemoryTerms(vision=tower_bytes(shape.vision, pixels, size) + features)

    at_once = max(TOWER_PIXELS, largest) if shape.is_fast else pictures * largest
    return Phase("encode pictures", terms(at_once), terms(largest))


def cached_features(run: RunConfig, shape: ModelShape, size: int, pictures: int, limit: float) -> int:
    """Picture features that are kept in the host's memory: those of all pictures, or `limit` bytes."""
    one = feature_bytes(shape.vision, visual_tokens(shape.vision, max_pixels(run, shape)), size)
    return int(min(limit, pictures * one))


def sampling_phases(
    config: Transformers, run: RunConfig, shape: ModelShape, roles: Sequence[SampledRole], on_gpu: bool
) -> list[Phase]:
    """The phases of an engine: pictures, then completions of one role after the other."""
    size, rows, copies = number_size(config, on_gpu), config.rows, config.model_copies
    most = max(min(rows, role.n) for role in roles)
    phases = [decode_phase(f"sample {role.role}", shape, role, rows, size) for role in roles]
    if any(role.role != "searcher" for role in roles):
        phases.insert(0, encode_phase(run, shape, size, most))
    return [Phase(phase.name, _times(phase.terms, copies), _times(phase.least, copies)) for phase in phases]


def _times(terms: MemoryTerms, copies: int) -> MemoryTerms:
    return MemoryTerms(*(copies * value for value in terms.by_name.values()))
