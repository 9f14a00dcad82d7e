"""Train the shipped tiny CLIP model from scratch on the micro world's pictures and captions.

The loss is CLIP's, with one departure: equal captions of a batch are positives of each other's pictures. Short captions
("a bar chart") recur in every batch and would otherwise be negatives of the pictures that they describe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tasks.pretraining.schedule import warmup_cosine
from tasks.settings.base import Settings
from tasks.world import DOMAINS, Scene
from tasks.world.splits import PRETRAINING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

MEAN = DEVIATION = (0.5, 0.5, 0.5)
PREPROCESS: dict[str, Any] = {
    "mean": list(MEAN),
    "std": list(DEVIATION),
    "interpolation": "bicubic",
    "resize_mode": "squash",
}


class ClipPretraining(Settings):
    """The recipe of the shipped tiny CLIP model."""

    steps: int = Field(800, ge=1)
    pairs: int = Field(128, ge=2)
    """New pictures a step, each with one of its captions."""
    width: int = 96
    layers: int = 3
    dimensions: int = 64
    """Length of the embedding vectors."""
    learning_rate: float = Field(1.5e-3, gt=0)
    warmup: int = Field(50, ge=0)
    weight_decay: float = Field(0.05, ge=0)
    seed: int = 1


def draw_pairs(recipe: ClipPretraining, step: int) -> list[tuple[Scene, str]]:
    """Draw a step's pictures and captions; domain, level and caption are random."""
    rng = Random(f"clip/{recipe.seed}/{step}")
    scenes = [Scene(rng.choice(DOMAINS), rng.randint(1, 3), PRETRAINING.draw(rng)) for _ in range(recipe.pairs)]
    return [(scene, rng.choice(scene.captions())) for scene in scenes]


def build_clip_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE that adds the start and end tokens itself, as open_clip expects of a transformers tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    special, alphabet = ["<pad>", "<start>", "<end>"], pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        "<start> $A <end>", special_tokens=[("<start>", 1), ("<end>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<start>", eos_token="<end>", padding_side="right"
    )


def clip_settings(tokenizer: PreTrainedTokenizerFast, recipe: ClipPretraining) -> dict[str, Any]:
    """The arguments of `open_clip.CLIP`."""
    heads = recipe.width // 32
    return {
        "embed_dim": recipe.dimensions,
        "vision_cfg": {
            "image_size": 112, "patch_size": 14, "layers": recipe.layers, "width": recipe.width, "head_width": 32,
        },
        "text_cfg": {
            "context_length": 32, "vocab_size": len(tokenizer), "width": recipe.width, "heads": heads, "layers": 2,
            "pool_type": "eos", "eos_id": tokenizer.eos_token_id, "pad_id": tokenizer.pad_token_id,
        },
    }  # fmt: skip


def pixels(scenes: Sequence[Scene]) -> torch.Tensor:
    """Pictures as float32 [n, 3, 112, 112], scaled and normalised as in `PREPROCESS`."""
    import numpy as np
    import torch

    stack = torch.from_numpy(np.stack([np.asarray(scene.image()) for scene in scenes]))
    return stack.permute(0, 3, 1, 2).float().div_(255).sub_(MEAN[0]).div_(DEVIATION[0]).contiguous()


def clip_loss(similarity: torch.Tensor, captions: Sequence[str]) -> torch.Tensor:
    """Symmetric cross-entropy of logits [pictures, captions], in nats; equal captions share the target weight."""
    import torch
    from torch.nn import functional as F

    number = {caption: i for i, caption in enumerate(dict.fromkeys(captions))}
    ids = torch.tensor([number[caption] for caption in captions])
    targets = (ids[:, None] == ids[None, :]).float()
    targets = targets / targets.sum(dim=1, keepdim=True)
    return (F.cross_entropy(similarity, targets) + F.cross_entropy(similarity.T, targets)) / 2


def pretrain_clip(recipe: ClipPretraining, folder: Path, on_step: Callable[[int, float], None]) -> None:
    """Train by the recipe and write the model to `folder`, in the layout of open_clip's `local-dir:`."""
    import open_clip
    import torch

    from tasks.retrieval.clip import save_clip

    torch.manual_seed(recipe.seed)
    texts = [caption for step in range(20) for scene, _ in draw_pairs(recipe, step) for caption in scene.captions()]
    tokenizer = build_clip_tokenizer(texts)
    settings = clip_settings(tokenizer, recipe)
    model = open_clip.CLIP(**settings)
    optimizer = torch.optim.AdamW(
        model.parameters(), recipe.learning_rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: warmup_cosine(step, recipe.warmup, recipe.steps)
    )
    for step in range(recipe.steps):
        scenes, captions = zip(*draw_pairs(recipe, step), strict=True)
        tokens = tokenizer(list(captions), padding="max_length", max_length=32, truncation=True, return_tensors="pt")[
            "input_ids"
        ]
        image_vectors, text_vectors, scale = model(pixels(scenes), tokens)
        loss = clip_loss(scale * image_vectors @ text_vectors.T, captions)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, 4.6)  # CLIP's bound: a scale of 100
        on_step(step, float(loss.detach()))
    save_clip(folder, model, settings, PREPROCESS, tokenizer)
