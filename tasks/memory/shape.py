"""The shape of a model, from its `config.json`, and the parameters that follow from it.

Known are Qwen2.5-VL and Qwen3-VL. For the published 3B, 7B and 8B the formulas give the parameters of the published
checkpoints exactly: 3 754 622 976, 8 292 166 656 and 8 767 123 696.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

Family = Literal["qwen2_5_vl", "qwen3_vl"]
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a number by dtype."""


@dataclass(frozen=True)
class LanguageShape:
    """The language model: embeddings, decoder layers, head."""

    family: Family
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    intermediate: int
    vocabulary: int
    tied: bool
    """Whether the head is the embedding table."""

    @property
    def kv_width(self) -> int:
        """Width of a layer's keys, and of its values."""
        return self.kv_heads * self.head_size

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of a layer's linear maps, by the name within the layer."""
        width = self.heads * self.head_size
        return {
            "self_attn.q_proj": (self.hidden, width),
            "self_attn.k_proj": (self.hidden, self.kv_width),
            "self_attn.v_proj": (self.hidden, self.kv_width),
            "self_attn.o_proj": (width, self.hidden),
            "mlp.gate_proj": (self.hidden, self.intermediate),
            "mlp.up_proj": (self.hidden, self.intermediate),
            "mlp.down_proj": (self.intermediate, self.hidden),
        }

    @property
    def linear_parameters(self) -> int:
        """Parameters of all layers' linear maps, without biases."""
        return self.layers * sum(map(math.prod, self.linears.values()))

    @property
    def parameters(self) -> int:
        """All parameters: what full fine-tuning trains."""
        return self.root_parameters + self.layers * self.layer_parameters

    @property
    def root_parameters(self) -> int:
        """Parameters outside the decoder layers: embeddings, head, last norm."""
        return (1 if self.tied else 2) * self.vocabulary * self.hidden + self.hidden

    @property
    def layer_parameters(self) -> int:
        """Parameters of one decoder layer: linear maps, norms, biases."""
        width = self.heads * self.head_size
        extra = width + 2 * self.kv_width if self.family == "qwen2_5_vl" else 2 * self.head_size
        return sum(map(math.prod, self.linears.values())) + 2 * self.hidden + extra


@dataclass(frozen=True)
class VisionShape:
    """The vision tower: patches of `patch` x `patch` pixels; `merge` x `merge` of them are a visual token."""

    family: Family
    hidden: int
    layers: int
    intermediate: int
    patch: int
    merge: int
    out: int
    """Width of a visual token's features: the language model's hidden size."""
    deepstack: int = 0
    """Qwen3-VL: mergers of inner layers, whose features enter the first layers of the language model."""
    positions: int = 0
    """Qwen3-VL: rows of the table of positions."""

    @property
    def pixels_per_token(self) -> int:
        """784 for Qwen2.5-VL, 1024 for Qwen3-VL."""
        return (self.patch * self.merge) ** 2

    @property
    def parameters(self) -> int:
        """All parameters."""
        hidden, wide = self.hidden, self.hidden * self.merge**2
        attention = 4 * hidden * hidden + 4 * hidden
        embedding = 3 * 2 * self.patch**2 * hidden
        merger = wide * wide + wide + wide * self.out + self.out
        if self.family == "qwen2_5_vl":
            mlp = 3 * hidden * self.intermediate + 2 * self.intermediate + hidden
            return embedding + self.layers * (attention + mlp + 2 * hidden) + merger + hidden
        mlp = 2 * hidden * self.intermediate + self.intermediate + hidden
        tables = embedding + hidden + self.positions * hidden
        mergers = merger + 2 * hidden + self.deepstack * (merger + 2 * wide)
        return tables + self.layers * (attention + mlp + 4 * hidden) + mergers


@dataclass(frozen=True)
class ModelShape:
    """A vision-language model."""

    language: LanguageShape
    vision: VisionShape
    max_pixels: int
    """The largest picture by the model's own processor."""
    stored: int | None = None
    """Parameters in the checkpoint's files; None where they are not on this disk."""

    @property
    def is_fast(self) -> bool:
        """Whether `tasks.engines.architecture.has_fast_way`: prompts are shared by their completions."""
        return self.language.family == "qwen2_5_vl"

    @property
    def parameters(self) -> int:
        """Those in the checkpoint's files, else those of the shape."""
        return self.language.parameters + self.vision.parameters if self.stored is None else self.stored


def _qwen2_5(hidden: int, layers: int, heads: int, kv_heads: int, mlp: int, vocabulary: int, tied: bool) -> ModelShape:
    language = LanguageShape("qwen2_5_vl", hidden, layers, heads, kv_heads, hidden // heads, mlp, vocabulary, tied)
    return ModelShape(language, VisionShape("qwen2_5_vl", 1280, 32, 3420, 14, 2, hidden), 12_845_056)


PUBLISHED = {
    "Qwen/Qwen2.5-VL-3B-Instruct": _qwen2_5(2048, 36, 16, 2, 11008, 151_936, tied=True),
    "Qwen/Qwen2.5-VL-7B-Instruct": _qwen2_5(3584, 28, 28, 4, 18944, 152_064, tied=False),
    "Qwen/Qwen3-VL-8B-Instruct": ModelShape(
        LanguageShape("qwen3_vl", 4096, 36, 32, 8, 128, 12288, 151_936, tied=False),
        VisionShape("qwen3_vl", 1152, 27, 4304, 16, 2, 4096, deepstack=3, positions=2304),
        16_777_216,
    ),
}
"""Shapes by hub name, from the published `config.json` and `preprocessor_config.json`, for a machine without them."""


def read_shape(folder: Path) -> ModelShape | None:
    """The shape in a model folder's `config.json`, with the parameters of its files. None for another family."""
    config = json.loads((folder / "config.json").read_text())
    family = config.get("model_type")
    if family not in get_args(Family):
        return None
    language = _language({**config, **config.get("text_config", {})}, config, family)
    vision = _vision(config["vision_config"], language.hidden, family)
    return ModelShape(language, vision, _max_pixels(folder, family), _stored_parameters(folder, config))


def _language(text: Mapping[str, Any], config: Mapping[str, Any], family: Family) -> LanguageShape:
    hidden, heads = int(text["hidden_size"]), int(text["num_attention_heads"])
    return LanguageShape(
        family=family,
        hidden=hidden,
        layers=int(text["num_hidden_layers"]),
        heads=heads,
        kv_heads=int(text["num_key_value_heads"]),
        head_size=int(text.get("head_dim") or hidden // heads),
        intermediate=int(text["intermediate_size"]),
        vocabulary=int(text["vocab_size"]),
        tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
    )


def _vision(vision: Mapping[str, Any], out: int, family: Family) -> VisionShape:
    return VisionShape(
        family=family,
        hidden=int(vision["hidden_size"]),
        layers=int(vision["depth"]),
        intermediate=int(vision["intermediate_size"]),
        patch=int(vision["patch_size"]),
        merge=int(vision.get("spatial_merge_size", 2)),
        out=int(vision.get("out_hidden_size", out)),
        deepstack=len(vision.get("deepstack_visual_indexes", ())),
        positions=int(vision.get("num_position_embeddings", 0)),
    )


def _max_pixels(folder: Path, family: Family) -> int:
    """The upper limit that was saved with the processor, else that of the published processors."""
    for file in (folder / "processor_config.json", folder / "preprocessor_config.json"):
        if file.is_file():
            saved = json.loads(file.read_text())
            saved = saved.get("image_processor", saved)
            limit = saved.get("size", {}).get("longest_edge") or saved.get("max_pixels")
            if limit:
                return int(limit)
    return 12_845_056 if family == "qwen2_5_vl" else 16_777_216


def _stored_parameters(folder: Path, config: Mapping[str, Any]) -> int | None:
    """Parameters by the headers of the safetensors files, else by the size in their index; None without either."""
    if files := sorted(folder.glob("*.safetensors")):
        return sum(map(parameters_in, files))
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return None
    size = json.loads(index.read_text()).get("metadata", {}).get("total_size")
    dtype = str(config.get("dtype") or config.get("torch_dtype") or "bfloat16")
    return None if size is None else int(size) // BYTES[dtype]


def parameters_in(file: Path) -> int:
    """Parameters in a safetensors file, read from its header."""
    with file.open("rb") as opened:
        header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


@lru_cache
def adapter_parameters(language: LanguageShape, rank: int, targets: str | None) -> int:
    """Parameters of a LoRA of this rank: rank x (inputs + outputs) of each linear map whose whole name matches.

    None takes all linear maps.
    """
    pattern = re.compile(targets or ".*")
    named = ((name, sum(size)) for name, size in _named_linears(language))
    return sum(rank * width for name, width in named if pattern.fullmatch(name))


def _named_linears(language: LanguageShape) -> Iterator[tuple[str, tuple[int, int]]]:
    """Each linear map of the language model by its whole name, with (inputs, outputs)."""
    for layer in range(language.layers):
        for name, size in language.linears.items():
            yield f"model.language_model.layers.{layer}.{name}", size


def published(name: str) -> ModelShape | None:
    """The published shape of a hub name, with or without `@revision`; None where it is not in the table."""
    return PUBLISHED.get(name.partition("@")[0])
