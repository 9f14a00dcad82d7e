"""Encodes requests for the language model: token ids, and image features computed once a picture.

Chat template, image placeholder and picture size limits are the processor's own. Special tokens inside a prompt's text
(a model wrote part of it) are removed, so that no text can open a turn or stand for a picture.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache

from tasks.engines.pictures import PictureBudget
from tasks.records.picture import Picture
from tasks.records.prompt import Prompt

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class VisionFeatures:
    """The vision tower's output for one picture: features (tokens, C) and the patch grid (time, height, width)."""

    features: torch.Tensor
    """On the host: each use copies what it needs to the model's device."""
    grid: tuple[int, int, int]

    def size(self) -> int:
        """Bytes of the features."""
        return self.features.numel() * self.features.element_size()


@dataclass(frozen=True)
class Encoded:
    """A prompt's token ids, with one image token per visual token, and its picture's features."""

    ids: list[int]
    vision: VisionFeatures | None


def load_processor(model: str, pictures: PictureBudget) -> Any:
    """The processor that was saved with a model, with the pictures' budget: chat template, tokenizer, resizing."""
    from transformers import AutoProcessor

    processors: Any = AutoProcessor
    return pictures.apply(processors.from_pretrained(model))


VISION_CACHE_BYTES = 4 << 30
"""Most bytes of picture features that are kept: 450 pictures of a megapixel for the 7B model."""
TOWER_PIXELS = 4 << 20
"""Most pixels that the vision tower reads at once."""


class VisionCache:
    """Features of the pictures used last, by content, in the host's memory.

    The vision tower is frozen, so all adapters share them.
    """

    def __init__(self, max_bytes: int = VISION_CACHE_BYTES) -> None:
        self._features: LRUCache[bytes, VisionFeatures] = LRUCache(max_bytes, getsizeof=VisionFeatures.size)

    def features(self, model: Any, processor: Any, pictures: Sequence[Picture]) -> list[VisionFeatures]:
        """Features of each picture. The vision tower runs on uncached pictures alone, a few megapixels at a time."""
        keys = [hashlib.blake2b(picture.data, digest_size=16).digest() for picture in pictures]
        missing = {key: picture for key, picture in zip(keys, pictures, strict=True) if key not in self._features}
        computed: dict[bytes, VisionFeatures] = {}
        batch: list[bytes] = []
        pixels = 0
        for key, picture in missing.items():
            size = picture.pixels
            if batch and pixels + size > TOWER_PIXELS:
                computed |= self._compute(model, processor, batch, missing)
                batch, pixels = [], 0
            batch.append(key)
            pixels += size
        computed |= self._compute(model, processor, batch, missing) if batch else {}
        features = [computed.get(key) or self._features[key] for key in keys]
        for key, kept in zip(keys, features, strict=True):
            if VisionFeatures.size(kept) <= self._features.maxsize:
                self._features[key] = kept
        return features

    def _compute(
        self, model: Any, processor: Any, keys: Sequence[bytes], pictures: Mapping[bytes, Picture]
    ) -> dict[bytes, VisionFeatures]:
        """Features of a batch of pictures, of halves of it where the GPU's memory is too small for all at once."""
        import torch

        try:
            return dict(zip(keys, run_vision_tower(model, processor, [pictures[key] for key in keys]), strict=True))
        except torch.OutOfMemoryError:
            if len(keys) == 1:
                raise
        torch.cuda.empty_cache()
        half = len(keys) // 2
        return self._compute(model, processor, keys[:half], pictures) | self._compute(
            model, processor, keys[half:], pictures
        )


def run_vision_tower(model: Any, processor: Any, pictures: Sequence[Picture]) -> list[VisionFeatures]:
    """Features of each picture by the image processor and the vision tower, in one batch."""
    images = [picture.image for picture in pictures]
    pixels = processor.image_processor(images=images, return_tensors="pt")
    grid = pixels["image_grid_thw"]
    features = model.get_image_features(pixels["pixel_values"].to(model.device), grid.to(model.device)).pooler_output
    return [VisionFeatures(part.cpu(), tuple(size)) for part, size in zip(features, grid.tolist(), strict=True)]


class Encoder:
    """Turns prompts into token ids by a processor's chat template and tokenizer."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        tokenizer = processor.tokenizer
        special = {str(token) for token in tokenizer.added_tokens_decoder.values()} | {*tokenizer.all_special_tokens}
        self._special = re.compile("|".join(re.escape(token) for token in sorted(special, key=len, reverse=True)))

    def encode(self, prompts: Sequence[Prompt], visions: Sequence[VisionFeatures | None]) -> list[Encoded]:
        """Token ids of each prompt; `visions[i]` belongs to the image placeholder of prompt i."""
        texts = [self._expand(prompt, vision) for prompt, vision in zip(prompts, visions, strict=True)]
        ids = self._processor.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        return [Encoded(row, vision) for row, vision in zip(ids, visions, strict=True)]

    def text(self, prompt: Prompt, *, picture: bool) -> str:
        """The prompt in the chat template, with one placeholder for the picture."""
        chat = messages(self.clean(prompt), picture=picture)
        return str(self._processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False))

    def _expand(self, prompt: Prompt, vision: VisionFeatures | None) -> str:
        """The prompt's text with one placeholder per visual token."""
        text = self.text(prompt, picture=vision is not None)
        if vision is None:
            return text
        time, height, width = vision.grid
        token, merged = self._processor.image_token, self._processor.image_processor.merge_size**2
        return text.replace(token, token * (time * height * width // merged), 1)

    def length(self, prompt: Prompt, picture: Picture | None) -> int:
        """Tokens of the prompt with its picture, whose size is enough to know them."""
        text = self.text(prompt, picture=picture is not None)
        tokens = len(self._processor.tokenizer(text, add_special_tokens=False)["input_ids"])
        if picture is None:
            return tokens
        width, height = picture.size
        counted = self._processor._get_num_multimodal_tokens(image_sizes=[(height, width)])  # as vLLM itself counts
        return int(tokens + counted.num_image_tokens[0] - 1)  # they replace one placeholder

    def clean(self, prompt: Prompt) -> Prompt:
        """The prompt without special tokens in its texts."""
        clean = self._special.sub
        return Prompt(clean("", prompt.user), None if prompt.system is None else clean("", prompt.system))


def messages(prompt: Prompt, *, picture: bool) -> list[dict[str, Any]]:
    """A prompt as chat messages in the processor's format: the picture comes before the user's text."""
    image = [{"type": "image"}] if picture else []
    chat = [{"role": "user", "content": [*image, {"type": "text", "text": prompt.user}]}]
    if prompt.system is not None:
        chat.insert(0, {"role": "system", "content": [{"type": "text", "text": prompt.system}]})
    return chat
