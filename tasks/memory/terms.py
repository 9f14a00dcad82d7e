"""The terms of a sum of memory, in bytes."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class MemoryTerms:
    """What fills a card at one moment, in bytes. Terms of the same name add up: `weights` of engine and trainer."""

    weights: int = 0
    """The base model's parameters, once for each engine and trainer that holds them."""
    adapters: int = 0
    """LoRA: the trained adapter, an engine's slots, and merged copies where the arithmetic is float32."""
    gradients: int = 0
    """float32, one a trained parameter."""
    adam: int = 0
    """AdamW's two moments: float32, two a trained parameter."""
    reference: int = 0
    """The policy at the stage's start: TRL's frozen copy for the KL term, and the copy for weight averaging."""
    gathered: int = 0
    """Sharded weights that a rank holds whole while it computes with them, and their gradients (FSDP2)."""
    kv_cache: int = 0
    """Keys and values of prompts and completions."""
    vision: int = 0
    """Picture features, and what the vision tower computes on the way to them."""
    head: int = 0
    """float32 tables of logits, tokens x vocabulary."""
    activations: int = 0
    """States of the language model between forward and backward pass, or while an engine computes a batch."""
    clip: int = 0
    """The embedding model: on a GPU only while queries are embedded, else in main memory."""
    contexts: int = 0
    """CUDA contexts and libraries of the processes, and vLLM's CUDA graphs."""

    @property
    def total(self) -> int:
        """The sum, in bytes."""
        return sum(self.by_name.values())

    @property
    def by_name(self) -> dict[str, int]:
        """Bytes by the name of the term."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __add__(self, other: MemoryTerms) -> MemoryTerms:
        return MemoryTerms(
            *(mine + its for mine, its in zip(self.by_name.values(), other.by_name.values(), strict=True))
        )


@dataclass(frozen=True)
class Phase:
    """A part of a stage with its own peak. Engine and trainer halve their batches where memory is short."""

    name: str
    terms: MemoryTerms
    """With batches of the configured size."""
    least: MemoryTerms
    """With the smallest batch: one request, or one row of a micro-batch."""

    def above(self, fixed: MemoryTerms) -> Phase:
        """The phase on top of what is in memory throughout."""
        return Phase(self.name, fixed + self.terms, fixed + self.least)
