"""CLIP's pretraining: the loss treats equal captions as positives, and pictures come from the seeds for pretraining."""

from __future__ import annotations

from tasks.pretraining.clip import ClipPretraining, clip_loss, draw_pairs
from tasks.world.splits import PRETRAINING


def test_clip_is_trained_on_seeds_for_pretraining_only() -> None:
    assert all(scene.seed in PRETRAINING for scene, _ in draw_pairs(ClipPretraining(pairs=50), 3))


def test_equal_captions_are_positives_of_each_other() -> None:
    import torch

    together, apart = torch.tensor([[5.0, 5.0], [5.0, 5.0]]), torch.tensor([[5.0, 0.0], [0.0, 5.0]])
    assert clip_loss(together, ["a", "a"]) < clip_loss(apart, ["a", "a"])
    assert clip_loss(together, ["a", "b"]) > clip_loss(apart, ["a", "b"])
