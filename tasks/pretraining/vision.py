"""The tiny model's vision tower: pictures as patches, and a forward pass over a plain batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration

PIXELS, PATCH, MERGE = 112, 14, 2
IMAGE_TOKENS = (PIXELS // PATCH // MERGE) ** 2
MEAN, DEVIATION = (0.95, 0.95, 0.95), (0.25, 0.25, 0.25)
"""Normalisation for light backgrounds, not for photographs. With a mean of 0.45 the white background would be the
largest part of every patch, and the tower's RMS norms do not centre."""


def patches(images: Sequence[Any]) -> torch.Tensor:
    """The vision tower's input for n pictures, float32 [n * 64, 1176], equal to the model's own image processor's."""
    import numpy as np
    import torch

    pixels = np.stack([np.asarray(image) for image in images]).astype(np.float32) / 255
    pixels = (pixels - np.asarray(MEAN, np.float32)) / np.asarray(DEVIATION, np.float32)
    blocks = PIXELS // PATCH // MERGE
    grid = torch.from_numpy(pixels).reshape(len(images), blocks, MERGE, PATCH, blocks, MERGE, PATCH, 3)
    grid = grid.permute(0, 1, 4, 2, 5, 7, 3, 6)[:, :, :, :, :, :, None].expand(-1, -1, -1, -1, -1, -1, 2, -1, -1)
    return grid.reshape(len(images) * (PIXELS // PATCH) ** 2, -1)


def picture_features(model: Qwen2_5_VLForConditionalGeneration, pixels: torch.Tensor) -> torch.Tensor:
    """The vision tower's features float32 [pictures, 16, width] of pictures of equal size, in one batch.

    transformers runs attention picture by picture (`cu_seqlens`), which costs more than the arithmetic on a CPU. With
    one window a picture, the same weights run as a plain batch.
    """
    from torch.nn import functional as F
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import apply_rotary_pos_emb_vision

    tower = model.model.visual
    count, tokens = len(pixels) // (PIXELS // PATCH) ** 2, (PIXELS // PATCH) ** 2
    hidden = (pixels @ tower.patch_embed.proj.weight.flatten(1).T).view(count, tokens, -1)
    cos, sin = tower.rotary_pos_emb(hidden, _patch_positions())
    for block in tower.blocks:
        attention = block.attn
        qkv = attention.qkv(block.norm1(hidden)).view(count, tokens, 3, attention.num_heads, -1)
        q, k = apply_rotary_pos_emb_vision(qkv[:, :, 0], qkv[:, :, 1], cos, sin)
        q, k, v = (x.transpose(1, 2) for x in (q, k, qkv[:, :, 2]))
        mixed = F.scaled_dot_product_attention(q, k, v, scale=attention.scaling)
        hidden = hidden + attention.proj(mixed.transpose(1, 2).reshape(count, tokens, -1))
        hidden = hidden + block.mlp(block.norm2(hidden))
    return tower.merger(hidden).view(count, IMAGE_TOKENS, -1)  # type: ignore[no-any-return]


def _patch_positions() -> torch.Tensor:
    """Row and column of each patch, int64 [64, 2], the patches of a merge block together."""
    import torch

    blocks = PIXELS // PATCH // MERGE
    grid = torch.arange(PIXELS // PATCH)
    rows = grid[:, None].expand(-1, len(grid)).reshape(blocks, MERGE, blocks, MERGE).transpose(1, 2).reshape(-1)
    columns = grid[None, :].expand(len(grid), -1).reshape(blocks, MERGE, blocks, MERGE).transpose(1, 2).reshape(-1)
    return torch.stack([rows, columns], dim=1)
