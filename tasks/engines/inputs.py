"""From requests to what the language model reads: token ids, and image features computed once a picture.

The chat template, the image placeholder and the picture's size limits are the processor's own. Special tokens inside a
prompt's text (a model wrote part of it) are removed, so that no text can open a turn or claim an image.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.records.prompt import Picture, Prompt

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Vision:
    """A picture as the language model sees it: features (tokens, C) and its patch grid (time, height, width)."""

    features: torch.Tensor
    grid: tuple[int, int, int]


@dataclass(frozen=True)
class Encoded:
    """A prompt's token ids, placeholders expanded, and its picture's features."""

    ids: list[int]
    vision: Vision | None


def load_processor(model: str) -> Any:
    """The processor that was saved with a model: chat template, tokenizer and picture limits."""
    from transformers import AutoProcessor

    processors: Any = AutoProcessor
    return processors.from_pretrained(model)


class VisionCache:
    """Features of the last `size` pictures, by content. The vision tower is frozen: all adapters share them."""

    def __init__(self, size: int = 4096, batch: int = 32) -> None:
        self._size = size
        self._batch = batch
        self._held: OrderedDict[bytes, Vision] = OrderedDict()

    def look(self, model: Any, processor: Any, pictures: Sequence[Picture]) -> list[Vision]:
        """Features of each picture; only pictures not held are run through the vision tower, in batches."""
        keys = [hashlib.blake2b(picture.data, digest_size=16).digest() for picture in pictures]
        missing = {key: picture for key, picture in zip(keys, pictures, strict=True) if key not in self._held}
        fresh: dict[bytes, Vision] = {}
        for start in range(0, len(missing), self._batch):
            part = dict(list(missing.items())[start : start + self._batch])
            fresh.update(zip(part, see(model, processor, list(part.values())), strict=True))
        found = [fresh.get(key) or self._held[key] for key in keys]
        self._held.update(zip(keys, found, strict=True))
        for key in keys:
            self._held.move_to_end(key)
        while len(self._held) > self._size:
            self._held.popitem(last=False)
        return found


def see(model: Any, processor: Any, pictures: Sequence[Picture]) -> list[Vision]:
    """Run pictures through the image processor and the vision tower."""
    images = [picture.image for picture in pictures]
    pixels = processor.image_processor(images=images, return_tensors="pt")
    grid = pixels["image_grid_thw"]
    features = model.get_image_features(pixels["pixel_values"].to(model.device), grid.to(model.device)).pooler_output
    return [Vision(part, tuple(size)) for part, size in zip(features, grid.tolist(), strict=True)]


class Encoder:
    """Prompts to token ids by a processor's chat template and tokenizer."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        tokenizer = processor.tokenizer
        special = {str(token) for token in tokenizer.added_tokens_decoder.values()} | {*tokenizer.all_special_tokens}
        self._special = re.compile("|".join(re.escape(token) for token in sorted(special, key=len, reverse=True)))
        self._merge = processor.image_processor.merge_size**2

    def encode(self, prompts: Sequence[Prompt], visions: Sequence[Vision | None]) -> list[Encoded]:
        """Token ids of each prompt; `visions[i]` fills the placeholder of prompt i."""
        texts = [self._expand(prompt, vision) for prompt, vision in zip(prompts, visions, strict=True)]
        ids = self._processor.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        return [Encoded(row, vision) for row, vision in zip(ids, visions, strict=True)]

    def text(self, prompt: Prompt, *, picture: bool) -> str:
        """The prompt in the chat template, with one placeholder for the picture."""
        chat = messages(self._plain(prompt), picture=picture)
        return str(self._processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False))

    def _expand(self, prompt: Prompt, vision: Vision | None) -> str:
        text = self.text(prompt, picture=vision is not None)
        if vision is None:
            return text
        time, height, width = vision.grid
        token = self._processor.image_token
        return text.replace(token, token * (time * height * width // self._merge), 1)

    def _plain(self, prompt: Prompt) -> Prompt:
        clean = self._special.sub
        return Prompt(clean("", prompt.user), None if prompt.system is None else clean("", prompt.system))


def messages(prompt: Prompt, *, picture: bool) -> list[dict[str, Any]]:
    """A prompt as chat messages in the processor's format: the picture stands before the user's text."""
    image = [{"type": "image"}] if picture else []
    chat = [{"role": "user", "content": [*image, {"type": "text", "text": prompt.user}]}]
    if prompt.system is not None:
        chat.insert(0, {"role": "system", "content": [{"type": "text", "text": prompt.system}]})
    return chat
