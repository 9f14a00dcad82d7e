"""Replicas and ranks on several GPUs of one machine: throughput, and the weights of one rank. Part of `make test-gpu`.

Without a GPU, `ACTIVE_ZERO_GPU_SIZES=tiny` runs them on two processors, to see that they work.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tasks.engines import Ray, Transformers
from tasks.engines.request import Request, Sampling
from tasks.trainers import Training
from tests.gpu.test_true_shape import BUDGET, DEVICE, QUESTION, TOKENS, examples, figures, lengths, model, trainer
from tests.gpu.true_shape import photograph

__all__ = ["model"]

CARDS, PICTURES = (torch.cuda.device_count(), 48) if DEVICE == "cuda" else (2, 1)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(CARDS < 2, reason="one GPU"),
]


def test_replicas_score_on_all_cards(model: tuple[str, str]) -> None:
    """Replies equal those of one replica; how much faster they come."""
    size, folder = model
    asked = [Request(QUESTION, photograph(i), None, Sampling(TOKENS), 8, i) for i in range(PICTURES * CARDS)]
    seconds, replies = [], []
    for replicas in (1, CARDS):
        engine = Ray(of=Transformers(device=DEVICE), replicas=replicas, rows=128).open(folder, BUDGET)
        engine.generate(asked[:CARDS])
        started = time.monotonic()
        replies.append(engine.generate(asked))
        seconds.append(time.monotonic() - started)
        engine.close()
    assert [[reply.text for reply in group] for group in replies[0]] == [
        [reply.text for reply in group] for group in replies[1]
    ]
    figures("replicas", size, cards=CARDS, one_s=seconds[0], all_s=seconds[1], speed=seconds[0] / seconds[1])


@pytest.mark.parametrize("lora", [True, False], ids=["adapter", "whole"])
def test_ranks_make_the_update_of_one(model: tuple[str, str], lora: bool, tmp_path: Path) -> None:
    """Seconds of a training of two steps, starts included, and the cosine of what one and all ranks have learnt."""
    size, folder = model
    learnt, seconds = [], []
    for workers in (1, CARDS):
        out = tmp_path / str(workers)
        settings = trainer(4096, beta=0.0, workers=workers)
        config = settings if lora else settings.model_copy(update={"lora": None, "learning_rate": 1e-6})
        started = time.monotonic()
        config.train(Training(folder, None, examples(), lengths, out, 1, BUDGET))
        seconds.append(time.monotonic() - started)
        learnt.append(change(out, Path(folder)))
    cosine = float(torch.nn.functional.cosine_similarity(*learnt, dim=0))
    name = "ranks, adapter" if lora else "ranks, whole weights"
    figures(name, size, cards=CARDS, one_s=seconds[0], all_s=seconds[1], cosine=cosine)
    assert cosine > 0.99


def change(out: Path, base: Path) -> Any:
    """What a training has changed, as one vector: an adapter's second factors, or whole weights less the base's."""
    weights = {name: weight for file in out.glob("*.safetensors") for name, weight in load_file(file).items()}
    if (out / "adapter_config.json").is_file():
        return torch.cat([weight.flatten().float() for name, weight in sorted(weights.items()) if "lora_B" in name])
    before = {name: weight for file in base.glob("*.safetensors") for name, weight in load_file(file).items()}
    return torch.cat([(weights[name].float() - before[name].float()).flatten() for name in sorted(weights)])
