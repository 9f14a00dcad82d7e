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
    for the language model, the reference being a whole second model. Several ranks share what belongs to the language
    model (FSDP2): 24 bytes of its parameters over the ranks. The vision tower, and that of the reference, is whole on
    each.
    """
    trained, held = trained_parameters(trainer, shape), shape.parameters
    whole = trainer.lora is None
    if is_sharded(trainer):
        trained = -(-trained // trainer.workers)
        held = trained + shape.parameters - shape.language.parameters
    size = 4 if whole else BYTES[trainer.precision]
    reference = 4 * (held if whole else trained) if trainer.beta else 0
    return MemoryTerms(
        weights=held * size,
        adapters=0 if whole else 4 * trained,
        gradients=4 * trained,
        adam=8 * trained,
        reference=reference + 4 * trained,
    )


def is_sharded(trainer: TrainerConfig) -> bool:
    """Whether the ranks share one model, each a part of it. Adapters are small: each rank has the whole model."""
    return trainer.lora is None and trainer.workers > 1


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


def update_phases(trainer: TrainerConfig, shape: ModelShape, prompt: PromptLength) -> list[Phase]:
    """Forward and backward pass of a micro-batch, which the trainer halves down to one row, and AdamW's step.

    A rank that shares the model has a peak in either pass.
    """
    plan, at_once = row_plan(trainer, shape, prompt.total), rows_at_once(trainer, shape, prompt)
    passes = [_sharded_forward, _sharded_backward] if is_sharded(trainer) else [_micro_batch]
    return [
        Phase(
            _PHASES[each],
            each(trainer, shape, prompt, plan, at_once),
            each(trainer, shape, prompt, plan, 1),
        )
        for each in passes
    ]


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
    trained = trained_parameters(trainer, shape)
    states = activation_bytes(language, tokens, size, trainer.gradient_checkpointing)
    states += _mask_bytes(plan, rows, size) + _copies(trainer, shape)
    return MemoryTerms(
        vision=feature_bytes(shape.vision, rows * prompt.visual, size),
        head=head,
        activations=max(states, 4 * trained - head),
    )


def _sharded_forward(
    trainer: TrainerConfig, shape: ModelShape, prompt: PromptLength, plan: RowPlan, rows: int
) -> MemoryTerms:
    """The forward pass of a rank.

    Gathered in float32: what lies outside the decoder layers, the layer at work, and the next one, which is on its way.
    Autocast keeps a bfloat16 copy of every weight that it has met until the pass ends, gathered or not (seen on two
    ranks without a GPU).
    """
    language, size = shape.language, BYTES[trainer.precision]
    tokens = rows * plan.tokens
    kept = activation_bytes(language, tokens, size, trainer.gradient_checkpointing)
    return MemoryTerms(
        gathered=4 * _gathered(shape),
        vision=feature_bytes(shape.vision, rows * prompt.visual, size),
        head=_head_bytes(shape, rows * plan.completions * trainer.max_tokens),
        activations=kept + _mask_bytes(plan, rows, size) + _copies(trainer, shape),
    )


def _sharded_backward(
    trainer: TrainerConfig, shape: ModelShape, prompt: PromptLength, plan: RowPlan, rows: int
) -> MemoryTerms:
    """The backward pass of a rank: each gathered weight has a whole gradient beside it until it is summed.

    With gradient checkpointing a layer's bfloat16 copies are made anew, else those of the forward pass are still there.
    AdamW's step, on the rank's own part, needs less.
    """
    language, size = shape.language, BYTES[trainer.precision]
    copies = _copies(trainer, shape) // (language.layers if trainer.gradient_checkpointing else 1)
    states = activation_bytes(language, rows * plan.tokens, size, trainer.gradient_checkpointing)
    return MemoryTerms(
        gathered=8 * _gathered(shape),
        vision=feature_bytes(shape.vision, rows * prompt.visual, size),
        head=_head_bytes(shape, rows * plan.completions * trainer.max_tokens),
        activations=states + _mask_bytes(plan, rows, size) + copies,
    )


def _gathered(shape: ModelShape) -> int:
    """Parameters that a rank holds whole at once: those outside the decoder layers, and two layers."""
    return shape.language.root_parameters + min(2, shape.language.layers) * shape.language.layer_parameters


def _copies(trainer: TrainerConfig, shape: ModelShape) -> int:
    """Bytes of the bfloat16 copies that autocast makes of a whole model's trained weights."""
    return 2 * trained_parameters(trainer, shape) if trainer.lora is None and trainer.precision == "bfloat16" else 0


def _mask_bytes(plan: RowPlan, rows: int, size: int) -> int:
    """The attention mask of rows in which completions share a prompt."""
    return rows * plan.tokens**2 * (1 + size) if plan.completions > 1 else 0


_PHASES = {_micro_batch: "update", _sharded_forward: "forward", _sharded_backward: "backward"}


def _head_bytes(shape: ModelShape, tokens: int) -> int:
    """The tables of logits of so many completion tokens."""
    table = logits_bytes(shape.language, tokens)
    return HEAD_TABLES * min(HEAD_BYTES, table)


def rollout_phase(trainer: TrainerConfig, shape: ModelShape, role: str, prompt: PromptLength) -> Phase:
    """Rollouts by the model in training, `tasks.engines.decode.ROWS` at once. In float32 their weights are merged.

    A rank that shares the model gathers all of it.
    """
    size = 4 if trainer.lora is None else BYTES[trainer.precision]
    rows = min(ROWS, trainer.prompts * trainer.rollouts)
    sampled = SampledRole(role, trainer.rollouts, prompt.total, trainer.max_tokens)
    merged = MemoryTerms(
        adapters=4 * shape.language.linear_parameters if size == 4 and shape.is_fast else 0,
        gathered=4 * shape.language.parameters if is_sharded(trainer) else 0,
    )
    return decode_phase("rollouts", shape, sampled, rows, size).above(merged)
