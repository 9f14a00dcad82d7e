"""Memory of the embedding model, which open_clip loads in float32."""

from __future__ import annotations

from tasks.memory.shape import parameters_in
from tasks.retrieval.clip import LOCAL, Clip
from tasks.settings.overlay import ROOT

PARAMETERS = {
    "ViT-B-32": 151_277_313,
    "ViT-L-14": 427_616_513,
    "ViT-SO400M-16-SigLIP2-384": 1_136_039_602,
}
"""Parameters by open_clip's name, counted on models that were built without weights. Others count as the largest."""


def clip_bytes(config: Clip, on_gpu: bool) -> int:
    """Bytes of the model's weights on the card that the round runs on; 0 where `retrieval.clip.device` is another."""
    if on_gpu and config.device == "cpu":
        return 0
    if config.model.startswith(LOCAL):
        folder = ROOT / config.model.removeprefix(LOCAL)
        return 4 * sum(map(parameters_in, folder.glob("*.safetensors")))
    return 4 * PARAMETERS.get(config.model, max(PARAMETERS.values()))
