"""Train the shipped tiny vision-language model from scratch on the micro world: first the tower, then all of it.

Each step draws new scenes, so no picture occurs twice and none is in a corpus or a benchmark (their seeds lie in other
ranges). The vision tower runs once for each picture, and several examples share its features. Examples are sorted by
length and run in chunks, so that little time goes into padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tasks.pretraining.tower import TowerPretraining, pretrain_tower
from tasks.pretraining.vision import DEVIATION, IMAGE_TOKENS, MEAN, MERGE, PATCH, PIXELS, patches, picture_features
from tasks.settings.base import Settings
from tasks.world import DOMAINS, Scene
from tasks.world.examples import PretrainingExample, questioner_example, searcher_example, solver_example
from tasks.world.splits import PRETRAINING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen2_5_VLForConditionalGeneration

SPECIAL = (
    "<|endoftext|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<|reply|>",
)
TAGS = (
    "<think>",
    "</think>",
    "<type>",
    "</type>",
    "<question>",
    "</question>",
    "<answer>",
    "</answer>",
    "<query>",
    "</query>",
    " \\boxed{",
)
CHAT_TEMPLATE = (
    "{%- for message in messages %}{%- if message['role'] == 'assistant' %}{{- '<|reply|>' }}{%- endif %}"
    "{%- if message['content'] is string %}{{- message['content'] }}{%- else %}{%- for part in message['content'] %}"
    "{%- if part['type'] == 'image' %}{{- '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{%- else %}{{- part['text'] }}{%- endif %}{%- endfor %}{%- endif %}"
    "{%- if message['role'] == 'assistant' %}{{- '<|im_end|>' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|reply|>' }}{%- endif %}"
)


class Pretraining(Settings):
    """The recipe of the shipped tiny model."""

    tower: TowerPretraining = TowerPretraining()
    """The recipe of the tower, which is trained first."""
    steps: int = Field(1000, ge=1)
    horizon: int = Field(1300, ge=1)
    """Steps of the cosine that the learning rates follow until the cool-down."""
    cooldown: int = Field(200, ge=0)
    """Last steps, in which the learning rates fall linearly to zero. The model is then partly competent, as a base for
    self-play should be; at the cosine's end it would have little left to learn."""
    pictures: int = Field(64, ge=1)
    """New pictures a step."""
    questions: int = Field(2, ge=1)
    """Solver examples for each picture; the Questioner gets one example for every second picture."""
    label_noise: float = Field(0.12, ge=0, lt=1)
    """Share of Solver examples with the answer of another picture. The resulting errors scatter, so a majority vote
    corrects them: self-play distils this first."""
    queries: int = Field(4, ge=0)
    """Searcher examples a step."""
    blind: int = Field(4, ge=0)
    """Solver examples a step without their picture. The answer then follows from the words alone, as the filter's blind
    leakage check requires."""
    chunk: int = Field(56, ge=1)
    """Examples in one forward pass, all of similar length."""
    width: int = 128
    text_layers: int = 4
    vision_layers: int = 4
    text_rate: float = Field(2e-3, gt=0)
    """AdamW's peak learning rate for the language model."""
    tower_rate: float = Field(5e-4, gt=0)
    """AdamW's peak learning rate for the vision tower, which is trained already."""
    warmup: int = Field(50, ge=0)
    weight_decay: float = Field(0.05, ge=0)
    seed: int = 0


def build_tokenizer(texts: Iterator[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE of about a thousand tokens: any text round-trips; each word of the world is one token."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1000, initial_alphabet=alphabet, special_tokens=list(SPECIAL), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(tag, normalized=False, special=False) for tag in TAGS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", padding_side="left",
        extra_special_tokens={"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"},
        chat_template=CHAT_TEMPLATE,
    )  # fmt: skip


def build_model(tokenizer: PreTrainedTokenizerFast, recipe: Pretraining) -> Qwen2_5_VLForConditionalGeneration:
    """An untrained, small Qwen2.5-VL: 112-pixel pictures, 64 patches, 16 visual tokens."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    def token(name: str) -> int:
        return int(tokenizer.get_vocab()[name])

    heads = recipe.width // 32
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": -(-len(tokenizer) // 16) * 16, "hidden_size": recipe.width,
            "intermediate_size": 3 * recipe.width,
            "num_hidden_layers": recipe.text_layers, "num_attention_heads": heads, "num_key_value_heads": heads // 2,
            "max_position_embeddings": 1024,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
            "bos_token_id": None, "eos_token_id": token("<|im_end|>"), "pad_token_id": token("<|endoftext|>"),
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": recipe.vision_layers, "hidden_size": recipe.width, "intermediate_size": 5 * recipe.width // 2,
            "num_heads": heads,
            "patch_size": PATCH, "spatial_merge_size": MERGE, "window_size": PIXELS, "out_hidden_size": recipe.width,
            "fullatt_block_indexes": list(range(recipe.vision_layers)),
        },
        image_token_id=token("<|image_pad|>"), video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"), vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )  # fmt: skip
    return Qwen2_5_VLForConditionalGeneration(config)


def save_model(folder: Path, model: Qwen2_5_VLForConditionalGeneration, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write weights, tokenizer and processor in the layout of `from_pretrained`."""
    from transformers import Qwen2_5_VLProcessor
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

    size = {"shortest_edge": PIXELS * PIXELS, "longest_edge": PIXELS * PIXELS}
    images = Qwen2VLImageProcessor(size=size, patch_size=PATCH, merge_size=MERGE, image_mean=MEAN, image_std=DEVIATION)
    videos = Qwen2VLVideoProcessor(size=size, patch_size=PATCH, merge_size=MERGE)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    Qwen2_5_VLProcessor(images, tokenizer, videos, chat_template=CHAT_TEMPLATE).save_pretrained(folder)


# Batches ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chunk:
    """Examples of similar length about pictures of one step."""

    ids: torch.Tensor
    """int64 [examples, length], padded on the right."""
    targets: torch.Tensor
    """int64 [examples, length]: the next token where it belongs to a reply, else -100."""
    pictures: torch.Tensor | None
    """int64 [examples]: number of each example's picture in the step; None for examples without a picture."""


def encode(
    examples: Sequence[PretrainingExample], pictures: Sequence[int] | None, tokenizer: PreTrainedTokenizerFast
) -> Chunk:
    """Render examples with chat markup as one chunk. `pictures` are their numbers in the step, None for no pictures."""
    import torch

    start = "<|vision_start|>" + "<|image_pad|>" * IMAGE_TOKENS + "<|vision_end|>" if pictures is not None else ""
    heads = tokenizer([f"{start}{example.prompt}<|reply|>" for example in examples])["input_ids"]
    tails = tokenizer([f"{example.reply}<|im_end|>" for example in examples])["input_ids"]
    length = max(len(head) + len(tail) for head, tail in zip(heads, tails, strict=True))
    ids = torch.full((len(examples), length), int(tokenizer.pad_token_id))
    targets = torch.full((len(examples), length), -100)
    for row, (head, tail) in enumerate(zip(heads, tails, strict=True)):
        ids[row, : len(head) + len(tail)] = torch.tensor(head + tail)
        targets[row, len(head) - 1 : len(head) + len(tail) - 1] = torch.tensor(tail)
    return Chunk(ids, targets, torch.tensor(pictures) if pictures is not None else None)


def step_chunks(
    scenes: Sequence[Scene], recipe: Pretraining, tokenizer: PreTrainedTokenizerFast, rng: Random
) -> list[Chunk]:
    """All examples of one step, sorted by length, in chunks; examples without a picture are the last chunk."""
    pictures = [i for i in range(len(scenes)) for _ in range(recipe.questions)]
    pairs = [(solver_example(scenes[i], rng, recipe.label_noise), i) for i in pictures]
    pairs += [(questioner_example(scene, rng), i) for i, scene in enumerate(scenes) if i % 2 == 0]
    pairs.sort(key=lambda pair: len(pair[0].prompt) + len(pair[0].reply))
    parts = [pairs[i : i + recipe.chunk] for i in range(0, len(pairs), recipe.chunk)]
    chunks = [encode([example for example, _ in part], [i for _, i in part], tokenizer) for part in parts]
    without_picture = [searcher_example(scene, rng) for scene in scenes[: recipe.queries]]
    without_picture += [solver_example(scene, rng) for scene in scenes[: recipe.blind]]
    return [*chunks, encode(without_picture, None, tokenizer)] if without_picture else chunks


def draw_scenes(recipe: Pretraining, step: int) -> list[Scene]:
    """Draw a step's scenes; domains and levels are random, seeds come from the range for pretraining."""
    rng = Random(f"pretraining/{recipe.seed}/{step}")
    return [Scene(rng.choice(DOMAINS), rng.randint(1, 3), PRETRAINING.draw(rng)) for _ in range(recipe.pictures)]


# Training -----------------------------------------------------------------------------------------------------------


def _token_positions(length: int, with_picture: bool) -> torch.Tensor:
    """M-RoPE positions (time, row, column), int64 [3, 1, length]; the picture comes first in every example."""
    import torch

    if not with_picture:
        return torch.arange(length).expand(3, 1, -1)
    side = int(math.sqrt(IMAGE_TOKENS))
    cell = torch.arange(IMAGE_TOKENS)
    picture = torch.stack([torch.zeros_like(cell), cell // side, cell % side]) + 1
    rest = (torch.arange(length - IMAGE_TOKENS - 1) + 1 + side).expand(3, -1)
    return torch.cat([torch.zeros(3, 1, dtype=torch.int64), picture, rest], dim=1)[:, None]


def reply_loss(model: Qwen2_5_VLForConditionalGeneration, chunk: Chunk, features: torch.Tensor) -> torch.Tensor:
    """Sum of the cross-entropy over the replies' tokens, in nats."""
    import torch
    from torch.nn import functional as F

    embedded = model.model.language_model.embed_tokens(chunk.ids)
    if chunk.pictures is not None:
        before, after = embedded[:, :1], embedded[:, 1 + IMAGE_TOKENS :]
        embedded = torch.cat([before, features[chunk.pictures], after], dim=1)
    positions = _token_positions(chunk.ids.shape[1], chunk.pictures is not None).expand(-1, len(chunk.ids), -1)
    hidden = model.model.language_model(
        inputs_embeds=embedded, position_ids=positions, use_cache=False
    ).last_hidden_state
    wanted = chunk.targets != -100
    return F.cross_entropy(model.lm_head(hidden[wanted]), chunk.targets[wanted], reduction="sum")


def learn_step(model: Qwen2_5_VLForConditionalGeneration, scenes: Sequence[Scene], chunks: Sequence[Chunk]) -> float:
    """Accumulate the gradient of one step and return the mean loss per token, in nats.

    The chunks' gradients are summed at the picture features, so the vision tower's backward pass runs once.
    """
    tokens = sum(int((chunk.targets != -100).sum()) for chunk in chunks)
    features = picture_features(model, patches([scene.image() for scene in scenes]))
    shared = features.detach().requires_grad_()
    loss = 0.0
    for chunk in chunks:
        part = reply_loss(model, chunk, shared) / tokens
        part.backward()
        loss += float(part.detach())
    features.backward(shared.grad)
    return loss


def initialize(model: Qwen2_5_VLForConditionalGeneration) -> None:
    """Initialise matrices by fan-in, smaller where they write to the residual stream.

    The architecture's default of 0.02 suits widths of thousands; at 128 the layers would contribute almost nothing.
    """
    import torch

    for name, parameter in model.named_parameters():
        if parameter.ndim >= 2 and "embed_tokens" not in name:
            writes = any(part in name for part in ("o_proj", "down_proj", "attn.proj"))
            torch.nn.init.normal_(parameter, std=(0.35 if writes else 1.0) * parameter[0].numel() ** -0.5)


def optimizer(model: Qwen2_5_VLForConditionalGeneration, recipe: Pretraining) -> torch.optim.Optimizer:
    """AdamW with weight decay on matrices only and a lower learning rate for the tower."""
    import torch

    def group(tower: bool, matrices: bool) -> dict[str, Any]:
        named = model.named_parameters()
        chosen = [p for name, p in named if ("visual" in name) == tower and (p.ndim >= 2) == matrices]
        rate = recipe.tower_rate if tower else recipe.text_rate
        return {"params": chosen, "lr": rate, "weight_decay": recipe.weight_decay if matrices else 0.0}

    groups = [group(tower, matrices) for tower in (False, True) for matrices in (False, True)]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98))


def rate(step: int, recipe: Pretraining) -> float:
    """Share of the peak learning rates: a warm-up, a cosine, and a straight line to zero."""
    turn = recipe.steps - recipe.cooldown
    cosine = 0.5 * (1 + math.cos(math.pi * min(step, turn) / recipe.horizon))
    warm = min(1.0, (step + 1) / max(1, recipe.warmup))
    return warm * cosine * (1.0 if step < turn else (recipe.steps - step) / recipe.cooldown)


def pretrain(recipe: Pretraining, folder: Path, on_step: Callable[[int, float], None]) -> None:
    """Train by the recipe and write the model to `folder`."""
    import torch

    torch.manual_seed(recipe.seed)
    tokenizer = build_tokenizer(_texts(recipe))
    model = build_model(tokenizer, recipe)
    initialize(model)
    pretrain_tower(model, recipe.tower, on_step)
    learn_language(model, tokenizer, recipe, on_step)
    save_model(folder, model, tokenizer)


def learn_language(
    model: Qwen2_5_VLForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    recipe: Pretraining,
    on_step: Callable[[int, float], None],
) -> None:
    """Train the whole model on the three roles' examples."""
    import torch

    rng, adamw = Random(f"lessons/{recipe.seed}"), optimizer(model, recipe)
    schedule = torch.optim.lr_scheduler.LambdaLR(adamw, lambda step: rate(step, recipe))
    for step in range(recipe.steps):
        scenes = draw_scenes(recipe, step)
        loss = learn_step(model, scenes, step_chunks(scenes, recipe, tokenizer, rng))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adamw.step()
        adamw.zero_grad()
        schedule.step()
        on_step(step, loss)


def _texts(recipe: Pretraining) -> Iterator[str]:
    """Texts that the tokenizer is trained on."""
    rng = Random(recipe.seed)
    for step in range(30):
        for scene in draw_scenes(recipe, step):
            for example in (solver_example(scene, rng), questioner_example(scene, rng), searcher_example(scene, rng)):
                yield from (example.prompt, example.reply)
