"""Trains the embedded vision-language model from scratch on the micro world: first the tower, then all of it.

Each step draws fresh scenes, so no picture is seen twice and none is in a corpus or a benchmark (their seeds lie in
ranges of their own). The vision tower runs once a picture and several lessons share its features; lessons are sorted
by length and run in chunks, so that little is spent on padding.
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
from tasks.world.lessons import Lesson, questioner_lesson, searcher_lesson, solver_lesson
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
    """The recipe of the embedded base model."""

    tower: TowerPretraining = TowerPretraining()
    """Comes first."""
    steps: int = Field(1000, ge=1)
    horizon: int = Field(1300, ge=1)
    """Steps of the cosine that the rates follow until the cool-down."""
    cooldown: int = Field(200, ge=0)
    """Last steps, in which the rates fall in a straight line to zero. Stopped there, the model is partly competent, as
    a base for self-play should be: at the cosine's end it would leave little to learn."""
    pictures: int = Field(64, ge=1)
    """Fresh pictures a step."""
    lessons: int = Field(2, ge=1)
    """Questions to the Solver for each picture; the Questioner gets one lesson for every second picture."""
    slips: float = Field(0.12, ge=0, lt=1)
    """Share of the Solver's lessons that answer for another picture. Their errors scatter, so a majority sees through
    them: this is what self-play can distil first."""
    queries: int = Field(4, ge=0)
    """Lessons of the Searcher a step."""
    blind: int = Field(4, ge=0)
    """The Solver's lessons a step that go without their picture: what it answers then is what words alone suggest, as
    the filter's blind gate wants to know."""
    chunk: int = Field(56, ge=1)
    """Lessons in one forward pass, all of about one length."""
    width: int = 128
    text_layers: int = 4
    vision_layers: int = 4
    text_rate: float = Field(2e-3, gt=0)
    """AdamW's peak learning rate for the language model."""
    tower_rate: float = Field(5e-4, gt=0)
    """And for the vision tower, which has learned to read before."""
    warmup: int = Field(50, ge=0)
    weight_decay: float = Field(0.05, ge=0)
    seed: int = 0


def build_tokenizer(texts: Iterator[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE of about a thousand tokens: any text round-trips, the world's own words are one token each."""
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
    """An untrained Qwen2.5-VL in miniature: 112-pixel pictures, 64 patches, 16 visual tokens."""
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
    """Weights, tokenizer and processor, as `from_pretrained` reads them."""
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
    """Lessons of about one length about pictures of the step."""

    ids: torch.Tensor
    """int64 [lessons, length], padded on the right."""
    targets: torch.Tensor
    """int64 [lessons, length]: the next token where it belongs to a reply, else -100."""
    pictures: torch.Tensor | None
    """int64 [lessons]: which picture of the step each is about; None for lessons without one."""


def encode(lessons: Sequence[Lesson], pictures: Sequence[int] | None, tokenizer: PreTrainedTokenizerFast) -> Chunk:
    """Chat markup, ids and targets of one chunk."""
    import torch

    start = "<|vision_start|>" + "<|image_pad|>" * IMAGE_TOKENS + "<|vision_end|>" if pictures is not None else ""
    heads = tokenizer([f"{start}{lesson.prompt}<|reply|>" for lesson in lessons])["input_ids"]
    tails = tokenizer([f"{lesson.reply}<|im_end|>" for lesson in lessons])["input_ids"]
    length = max(len(head) + len(tail) for head, tail in zip(heads, tails, strict=True))
    ids = torch.full((len(lessons), length), int(tokenizer.pad_token_id))
    targets = torch.full((len(lessons), length), -100)
    for row, (head, tail) in enumerate(zip(heads, tails, strict=True)):
        ids[row, : len(head) + len(tail)] = torch.tensor(head + tail)
        targets[row, len(head) - 1 : len(head) + len(tail) - 1] = torch.tensor(tail)
    return Chunk(ids, targets, torch.tensor(pictures) if pictures is not None else None)


def step_chunks(
    scenes: Sequence[Scene], recipe: Pretraining, tokenizer: PreTrainedTokenizerFast, rng: Random
) -> list[Chunk]:
    """All lessons of one step: sorted by length, in chunks; those without a picture apart."""
    shown = [i for i in range(len(scenes)) for _ in range(recipe.lessons)]
    asked = [(solver_lesson(scenes[i], rng, recipe.slips), i) for i in shown]
    asked += [(questioner_lesson(scene, rng), i) for i, scene in enumerate(scenes) if i % 2 == 0]
    asked.sort(key=lambda pair: len(pair[0].prompt) + len(pair[0].reply))
    parts = [asked[i : i + recipe.chunk] for i in range(0, len(asked), recipe.chunk)]
    chunks = [encode([lesson for lesson, _ in part], [i for _, i in part], tokenizer) for part in parts]
    unseen = [searcher_lesson(scene, rng) for scene in scenes[: recipe.queries]]
    unseen += [solver_lesson(scene, rng) for scene in scenes[: recipe.blind]]
    return [*chunks, encode(unseen, None, tokenizer)] if unseen else chunks


def draw_scenes(recipe: Pretraining, step: int) -> list[Scene]:
    """The step's pictures: domains and levels by lot, seeds from the range that belongs to pretraining alone."""
    rng = Random(f"pretraining/{recipe.seed}/{step}")
    return [Scene(rng.choice(DOMAINS), rng.randint(1, 3), PRETRAINING.draw(rng)) for _ in range(recipe.pictures)]


# Learning -----------------------------------------------------------------------------------------------------------


def _token_positions(length: int, with_picture: bool) -> torch.Tensor:
    """int64 [3, 1, length]: M-RoPE positions (time, row, column); every lesson has its picture in the same place."""
    import torch

    if not with_picture:
        return torch.arange(length).expand(3, 1, -1)
    side = int(math.sqrt(IMAGE_TOKENS))
    cell = torch.arange(IMAGE_TOKENS)
    picture = torch.stack([torch.zeros_like(cell), cell // side, cell % side]) + 1
    rest = (torch.arange(length - IMAGE_TOKENS - 1) + 1 + side).expand(3, -1)
    return torch.cat([torch.zeros(3, 1, dtype=torch.int64), picture, rest], dim=1)[:, None]


def lesson_loss(model: Qwen2_5_VLForConditionalGeneration, chunk: Chunk, features: torch.Tensor) -> torch.Tensor:
    """Summed cross-entropy of the replies' tokens."""
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
    """Accumulates the gradient of one step and returns the mean loss per token, in nats.

    The chunks' gradients meet at the picture features, so the vision tower is run back once.
    """
    tokens = sum(int((chunk.targets != -100).sum()) for chunk in chunks)
    features = picture_features(model, patches([scene.image() for scene in scenes]))
    shared = features.detach().requires_grad_()
    loss = 0.0
    for chunk in chunks:
        part = lesson_loss(model, chunk, shared) / tokens
        part.backward()
        loss += float(part.detach())
    features.backward(shared.grad)
    return loss


def initialize(model: Qwen2_5_VLForConditionalGeneration) -> None:
    """Matrices by fan-in, those that write to the residual stream smaller.

    The architecture's own 0.02 is meant for a width of thousands: at 128 the layers would begin almost silent.
    """
    import torch

    for name, parameter in model.named_parameters():
        if parameter.ndim >= 2 and "embed_tokens" not in name:
            writes = any(part in name for part in ("o_proj", "down_proj", "attn.proj"))
            torch.nn.init.normal_(parameter, std=(0.35 if writes else 1.0) * parameter[0].numel() ** -0.5)


def optimizer(model: Qwen2_5_VLForConditionalGeneration, recipe: Pretraining) -> torch.optim.Optimizer:
    """AdamW; weight decay on matrices, a lower rate on the tower."""
    import torch

    def group(tower: bool, matrices: bool) -> dict[str, Any]:
        named = model.named_parameters()
        chosen = [p for name, p in named if ("visual" in name) == tower and (p.ndim >= 2) == matrices]
        rate = recipe.tower_rate if tower else recipe.text_rate
        return {"params": chosen, "lr": rate, "weight_decay": recipe.weight_decay if matrices else 0.0}

    groups = [group(tower, matrices) for tower in (False, True) for matrices in (False, True)]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98))


def rate(step: int, recipe: Pretraining) -> float:
    """Share of the peak rates: a warm-up, a cosine, and a straight line to zero."""
    turn = recipe.steps - recipe.cooldown
    cosine = 0.5 * (1 + math.cos(math.pi * min(step, turn) / recipe.horizon))
    warm = min(1.0, (step + 1) / max(1, recipe.warmup))
    return warm * cosine * (1.0 if step < turn else (recipe.steps - step) / recipe.cooldown)


def pretrain(recipe: Pretraining, folder: Path, on_step: Callable[[int, float], None]) -> None:
    """Runs the recipe and leaves the model in `folder`."""
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
    """Trains the whole model on the three roles' lessons."""
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
    """Text for the tokenizer to learn its words from."""
    rng = Random(recipe.seed)
    for step in range(30):
        for scene in draw_scenes(recipe, step):
            for lesson in (solver_lesson(scene, rng), questioner_lesson(scene, rng), searcher_lesson(scene, rng)):
                yield from (lesson.prompt, lesson.reply)
