"""Models in the true shape of Qwen2.5-VL, with random weights, made on the GPU where they are needed.

Config values are those of the published `config.json` of each size; the tokenizer is the tests' own, whose ids lie
within the published vocabulary. With random weights texts are gibberish of full length, which is the costly case.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.records.picture import Picture
from tests.fixtures.tiny_vlm import tiny_processor, tiny_tokenizer


@dataclass(frozen=True)
class Shape:
    """The numbers in which the published sizes differ."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vocabulary: int
    tied: bool
    vision_layers: int = 32
    vision_hidden: int = 1280
    vision_intermediate: int = 3420


SHAPES = {
    "tiny": Shape(256, 2, 2, 1, 512, 2048, True, vision_layers=4, vision_hidden=64, vision_intermediate=128),
    "3b": Shape(2048, 36, 16, 2, 11008, 151936, True),
    "7b": Shape(3584, 28, 28, 4, 18944, 152064, False),
}


def write_true_shape(folder: Path, size: str, device: str) -> Path:
    """A model folder of this size in bfloat16: 8 GB for 3b, 17 GB for 7b."""
    import torch
    from transformers import AutoConfig, Qwen2_5_VLForConditionalGeneration

    tokenizer = tiny_tokenizer()
    tiny_processor(tokenizer).save_pretrained(folder)
    lift_picture_limits(folder)
    config = AutoConfig.for_model("qwen2_5_vl", **_settings(SHAPES[size], tokenizer))
    torch.manual_seed(0)
    with torch.device(device):
        model = Qwen2_5_VLForConditionalGeneration._from_config(config, dtype=torch.bfloat16)
    model.generation_config.eos_token_id = [tokenizer.convert_tokens_to_ids("<|im_end|>")]
    model.save_pretrained(folder)
    del model
    if device != "cpu":
        torch.cuda.empty_cache()
    return folder


def lift_picture_limits(folder: Path) -> None:
    """The limits of the published preprocessor: 3136 to 12 845 056 pixels."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        file = folder / name
        if file.is_file():
            settings = json.loads(file.read_text())
            part = settings.get("image_processor", settings)
            part["size"] = {"shortest_edge": 3136, "longest_edge": 12845056}
            file.write_text(json.dumps(settings))


def _settings(shape: Shape, tokenizer: Any) -> dict[str, Any]:
    token = tokenizer.convert_tokens_to_ids
    return {
        "text_config": {
            "vocab_size": shape.vocabulary,
            "hidden_size": shape.hidden,
            "intermediate_size": shape.intermediate,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.kv_heads,
            "max_position_embeddings": 128000,
            "rms_norm_eps": 1e-6,
            "bos_token_id": token("<|endoftext|>"),
            "eos_token_id": token("<|im_end|>"),
            "pad_token_id": token("<|endoftext|>"),
            "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [16, 24, 24]},
            "tie_word_embeddings": shape.tied,
        },
        "vision_config": {
            "depth": shape.vision_layers,
            "hidden_size": shape.vision_hidden,
            "intermediate_size": shape.vision_intermediate,
            "num_heads": 16,
            "out_hidden_size": shape.hidden,
            "fullatt_block_indexes": [layer for layer in (7, 15, 23, 31) if layer < shape.vision_layers] or [0],
            "window_size": 112,
        },
        "image_token_id": token("<|image_pad|>"),
        "video_token_id": token("<|video_pad|>"),
        "vision_start_token_id": token("<|vision_start|>"),
        "vision_end_token_id": token("<|vision_end|>"),
        "tie_word_embeddings": shape.tied,
    }


def photograph(seed: int, width: int = 1000, height: int = 1000) -> Picture:
    """A picture of coarse random blocks, as a JPEG."""
    import io

    from PIL import Image

    blocks = np.random.default_rng(seed).integers(0, 255, (9, 9, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(blocks).resize((width, height)).save(buffer, "JPEG")
    return Picture(f"photo-{seed}", buffer.getvalue())


def remove(folder: Path) -> None:
    """Free the disk for the next size."""
    shutil.rmtree(folder, ignore_errors=True)
