"""Bytes of single tensors and of a forward pass, from a model's shape.

`size` is the bytes of a number: 4 for float32, 2 for bfloat16. Peaks measured on an H100 (tests/gpu/README.md) are
within 1 % of the sums for training, and up to 6 % below them for sampling.
"""

from __future__ import annotations

from tasks.memory.shape import LanguageShape, VisionShape


def kv_bytes(language: LanguageShape, size: int) -> int:
    """Keys and values of one token in all layers: 2 x layers x key/value heads x head size x `size`."""
    return 2 * language.layers * language.kv_width * size


def visual_tokens(vision: VisionShape, pixels: int) -> int:
    """Visual tokens of a picture, rounded up."""
    return -(-pixels // vision.pixels_per_token)


def feature_bytes(vision: VisionShape, tokens: int, size: int) -> int:
    """Features of so many visual tokens. Qwen3-VL adds those of its inner layers (DeepStack)."""
    return tokens * vision.out * (1 + vision.deepstack) * size


def tower_bytes(vision: VisionShape, pixels: int, size: int) -> int:
    """What the vision tower holds while it reads so many pixels, without gradients.

    For each patch: two pictures' float32 pixels (the temporal patch), and in one layer about ten vectors of the hidden
    size (residual, norm, q, k, v before and after rotation, output) and four of the MLP. Counted, not measured.
    """
    patches = -(-pixels // vision.patch**2)
    layer = (10 * vision.hidden + 4 * vision.intermediate) * size
    return patches * (layer + 2 * 3 * vision.patch**2 * 4)


def logits_bytes(language: LanguageShape, tokens: int) -> int:
    """One float32 table of logits."""
    return 4 * tokens * language.vocabulary


def saved_bytes(language: LanguageShape, size: int) -> int:
    """What one layer saves for the backward pass, for one token.

    Four vectors of the MLP's width (gate, up, activation, product), 24 bytes for each number of the hidden size (norms
    are float32 in either precision), and 2.4 vectors of the key/value width. Counted with `saved_tensors_hooks` on a
    layer with LoRA.
    """
    return round(24 * language.hidden + size * (4 * language.intermediate + 2.4 * language.kv_width))


def activation_bytes(language: LanguageShape, tokens: int, size: int, checkpointing: bool) -> int:
    """Activations of the language model for so many tokens, gradients of one layer's activations included.

    With gradient checkpointing each layer keeps its input alone, and one layer at a time is computed again.
    """
    backward = 3 * language.intermediate * size
    if not checkpointing:
        return tokens * (language.layers * saved_bytes(language, size) + backward)
    return tokens * (language.layers * language.hidden * size + saved_bytes(language, size) + backward)


def inference_bytes(language: LanguageShape, tokens: int, size: int) -> int:
    """States of one layer for so many tokens without gradients: eight of the hidden size, three of the MLP's width."""
    return tokens * size * (8 * language.hidden + 3 * language.intermediate)
