"""Encodes requests for the language model: token ids, and image features computed once a picture.

Chat template, image placeholder and picture size limits are the processor's own. Special tokens inside a prompt's text
(a model wrote part of it) are removed, so that no text can open a turn or stand for a picture.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache

from tasks.records.picture import Picture
from tasks.records.prompt import Prompt

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class VisionFeatures:
    """The vision tower's output for one picture: features (tokens, C) and the patch grid (time, height, width)."""

    features: torch.Tensor
    grid: tuple[int, int, int]


@dataclass(frozen=True)
class Encoded:
    """A prompt's token ids, with one image token per visual token, and its picture's features."""

    ids: list[int]
    vision: VisionFeatures | None


def load_processor(model: str) -> Any:
    """The processor that was saved with a model: chat template, tokenizer and picture size limits."""
    from transformers import AutoProcessor

    processors: Any = AutoProcessor
    return processors.from_pretrained(model)


class VisionCache:
    """Features of the `size` pictures used last, by content. The vision tower is frozen: all adapters share them."""

    def __init__(self, size: int = 4096, batch: int = 32) -> None:
        self._batch = batch
        self._features: LRUCache[bytes, VisionFeatures] = LRUCache(size)

    def features(self, model: Any, processor: Any, pictures: Sequence[Picture]) -> list[VisionFeatures]:
        """Features of each picture. The vision tower runs on uncached pictures alone, `batch` at a time."""
        keys = [hashlib.blake2b(picture.data, digest_size=16).digest() for picture in pictures]
        missing = {key: picture for key, picture in zip(keys, pictures, strict=True) if key not in self._features}
        computed: dict[bytes, VisionFeatures] = {}
        for start in range(0, len(missing), self._batch):
            part = dict(list(missing.items())[start : start + self._batch])
            computed.update(zip(part, run_vision_tower(model, processor, list(part.values())), strict=True))
        features = [computed.get(key) or self._features[key] for key in keys]
        self._features.update(zip(keys, features, strict=True))
        return features


def run_vision_tower(model: Any, processor: Any, pictures: Sequence[Picture]) -> list[VisionFeatures]:
    """Features of each picture by the image processor and the vision tower, in one batch."""
    images = [picture.image for picture in pictures]
    pixels = processor.image_processor(images=images, return_tensors="pt")
    grid = pixels["image_grid_thw"]
    features = model.get_image_features(pixels["pixel_values"].to(model.device), grid.to(model.device)).pooler_output
    return [VisionFeatures(part, tuple(size)) for part, size in zip(features, grid.tolist(), strict=True)]


class Encoder:
    """Turns prompts into token ids by a processor's chat template and tokenizer."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        tokenizer = processor.tokenizer
        special = {str(token) for token in tokenizer.added_tokens_decoder.values()} | {*tokenizer.all_special_tokens}
        self._special = re.compile("|".join(re.escape(token) for token in sorted(special, key=len, reverse=True)))
        self._merge = processor.image_processor.merge_size**2

    def encode(self, prompts: Sequence[Prompt], visions: Sequence[VisionFeatures | None]) -> list[Encoded]:
        """Token ids of each prompt; `visions[i]` belongs to the image placeholder of prompt i."""
        texts = [self._expand(prompt, vision) for prompt, vision in zip(prompts, visions, strict=True)]
        ids = self._processor.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        return [Encoded(row, vision) for row, vision in zip(ids, visions, strict=True)]

    def text(self, prompt: Prompt, *, picture: bool) -> str:
        """The prompt in the chat template, with one placeholder for the picture."""
        chat = messages(self._without_special_tokens(prompt), picture=picture)
        return str(self._processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False))

    def _expand(self, prompt: Prompt, vision: VisionFeatures | None) -> str:
        """The prompt's text with one placeholder per visual token."""
        text = self.text(prompt, picture=vision is not None)
        if vision is None:
            return text
        time, height, width = vision.grid
        token = self._processor.image_token
        return text.replace(token, token * (time * height * width // self._merge), 1)

    def _without_special_tokens(self, prompt: Prompt) -> Prompt:
        clean = self._special.sub
        return Prompt(clean("", prompt.user), None if prompt.system is None else clean("", prompt.system))


def messages(prompt: Prompt, *, picture: bool) -> list[dict[str, Any]]:
    """A prompt as chat messages in the processor's format: the picture comes before the user's text."""
    image = [{"type": "image"}] if picture else []
    chat = [{"role": "user", "content": [*image, {"type": "text", "text": prompt.user}]}]
    if prompt.system is not None:
        chat.insert(0, {"role": "system", "content": [{"type": "text", "text": prompt.system}]})
    return chat
