"""What differs between the architectures of vision-language models.

Two ways run a model. The fast way (`decode`, and `packing` in the trainers) is written for Qwen2.5-VL. The general way
(`general`, and `padding` in the trainers) calls the model as transformers defines it, so it runs every architecture
that `AutoModelForImageTextToText` loads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def read_config(model: str | Path) -> Any:
    """The configuration of a model folder."""
    from transformers import AutoConfig

    configs: Any = AutoConfig
    return configs.from_pretrained(str(model))


def has_fast_way(config: Any) -> bool:
    """Whether the fast way runs the model of this configuration: a Qwen2.5-VL without sliding-window attention."""
    layers = getattr(config.get_text_config(), "layer_types", None) or ()
    return bool(config.model_type == "qwen2_5_vl" and "sliding_attention" not in layers)


def placeholders(config: Any) -> list[int]:
    """Token ids that stand for pictures and videos. They are never sampled."""
    named = (getattr(config, name, None) for name in ("image_token_id", "video_token_id"))
    return [int(token) for token in named if token is not None]


_TOWER = re.compile(r"\.(visual|vision_tower|vision_model|multi_modal_projector|connector)\.")
"""The parts of models that turn a picture into features, by the names that they have in transformers."""


def changes_tower(parameters: Iterable[str]) -> bool:
    """Whether an adapter with these parameters changes picture features, which all adapters share."""
    return any(_TOWER.search(name) for name in parameters)


def language_linears(model: Any) -> str:
    """A regular expression on a layer's whole name: the linear layers of the language model, never of the tower."""
    import torch

    decoder = model.get_decoder()
    path = next(name for name, module in model.named_modules() if module is decoder)
    linear = (name for name, module in decoder.named_modules() if isinstance(module, torch.nn.Linear))
    leaves = sorted({name.rpartition(".")[2] for name in linear})
    return rf".*{re.escape(path)}\..*\.({'|'.join(leaves)})"
