"""Memory of the trainer: its own copy of the base model, and the state of one training (`tasks.trainers`)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tasks.engines.decode import ROWS
from tasks.memory.engine import decode_phase
from tasks.memory.formulas import activation_bytes, feature_bytes, logits_bytes
from tasks.memory.shape import BYTES, ModelShape, adapter_parameters
from tasks.memory.terms import MemoryTerms, Phase
from tasks.memory.work import PromptLength, SampledRole
from tasks.trainers import TrainerConfig
from tasks.trainers.packing import HEAD_BYTES

HEAD_TABLES = 4
"""Tables of logits that are in memory at once (`tasks.trainers.packing.HEAD_BYTES`)."""


@dataclass(frozen=True)
class RowPlan:
    """How a group of rollouts is cut into rows, as `tasks.trainers.forward` does it, at full length."""

    rows: int
    """Rows that one forward pass may have: those of an update, or in the general way those of one prompt."""
    completions: int
    """Completions in a row."""
    tokens: int
    """Tokens in a row."""


def state_memory(trainer: TrainerConfig, shape: ModelShape) -> MemoryTerms:
    """What is in memory throughout a training. Trained parameters are float32 in every precision.

    LoRA: the frozen base in `precision`, and for each adapter parameter 4 bytes of weight, 4 of gradient, 8 of Adam, 4
    of TRL's reference adapter (`beta` > 0) and 4 of the copy for weight averaging. Without LoRA all of it in float32
    for the language model, the reference being a whole second model.
    """
    trained = trained_parameters(trainer, shape)
    whole = trainer.lora is None
    size = 4 if whole else BYTES[trainer.precision]
    reference = 4 * (shape.parameters if whole else trained) if trainer.beta else 0
    return MemoryTerms(
        weights=shape.parameters * size,
        adapters=0 if whole else 4 * trained,
        gradients=4 * trained,
        adam=8 * trained,
        reference=reference + 4 * trained,
    )


def trained_parameters(trainer: TrainerConfig, shape: ModelShape) -> int:
    """The adapter's parameters, or those of the language model."""
    if trainer.lora is None:
        return shape.language.parameters
    return adapter_parameters(shape.language, trainer.lora.rank, trainer.lora.targets)


def row_plan(trainer: TrainerConfig, shape: ModelShape, prompt: int) -> RowPlan:
    """Rows of prompts of so many tokens and completions of `max_tokens`."""
    if not shape.is_fast:
        return RowPlan(trainer.rollouts, 1, prompt + trainer.max_tokens)
    room = max(1, trainer.row_tokens - prompt)
    cuts = min(trainer.rollouts, math.ceil(trainer.rollouts * trainer.max_tokens / room))
    completions = math.ceil(trainer.rollouts / cuts)
    rows = trainer.prompts // trainer.updates * cuts
    return RowPlan(rows, completions, prompt + completions * trainer.max_tokens)


def update_phase(trainer: TrainerConfig, shape: ModelShape, prompt: PromptLength) -> Phase:
    """Forward and backward pass of a micro-batch, which the trainer halves down to one row, and AdamW's step."""
    plan, at_once = row_plan(trainer, shape, prompt.total), rows_at_once(trainer, shape, prompt)
    return Phase(
        "update",
        _micro_batch(trainer, shape, prompt, plan, at_once),
        _micro_batch(trainer, shape, prompt, plan, 1),
    )


def rows_at_once(trainer: TrainerConfig, shape: ModelShape, prompt: PromptLength) -> int:
    """Rows of a forward pass."""
    plan = row_plan(trainer, shape, prompt.total)
    return min(plan.rows, max(1, trainer.micro_batch // plan.tokens))


def _micro_batch(
    trainer: TrainerConfig, shape: ModelShape, prompt: PromptLength, plan: RowPlan, rows: int
) -> MemoryTerms:
    """A micro-batch of so many rows.

    AdamW's step needs a float32 buffer of the trained parameters, when activations and logits are gone. Under autocast
    whole models also have bfloat16 copies of their weights until the backward pass ends.
    """
    size, language = BYTES[trainer.precision], shape.language
    tokens = rows * plan.tokens
    head = _head_bytes(shape, rows * plan.completions * trainer.max_tokens)
    mask = tokens * plan.tokens * (1 + size) if plan.completions > 1 else 0
    trained = trained_parameters(trainer, shape)
    copies = 2 * trained if trainer.lora is None and trainer.precision == "bfloat16" else 0
    states = activation_bytes(language, tokens, size, trainer.gradient_checkpointing) + mask + copies
    return MemoryTerms(
        vision=feature_bytes(shape.vision, rows * prompt.visual, size),
        head=head,
        activations=max(states, 4 * trained - head),
    )


def _head_bytes(shape: ModelShape, tokens: int) -> int:
    """The tables of logits of so many completion tokens."""
    table = logits_bytes(shape.language, tokens)
    return HEAD_TABLES * min(HEAD_BYTES, table)


def rollout_phase(trainer: TrainerConfig, shape: ModelShape, role: str, prompt: PromptLength) -> Phase:
    """Rollouts by the model in training, `tasks.engines.decode.ROWS` at once. In float32 their weights are merged."""
    size = 4 if trainer.lora is None else BYTES[trainer.precision]
    rows = min(ROWS, trainer.prompts * trainer.rollouts)
    sampled = SampledRole(role, trainer.rollouts, prompt.total, trainer.max_tokens)
    merged = MemoryTerms(adapters=4 * shape.language.linear_parameters if size == 4 and shape.is_fast else 0)
    return decode_phase("rollouts", shape, sampled, rows, size).above(merged)
