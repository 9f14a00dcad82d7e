"""Rollouts by an engine beside the model in training, from its weights as they stand before every step.

An adapter is served as it is: merged into weights of 16 bits, as TRL's own way to vLLM does, updates smaller than their
last bit are lost. Without an adapter the whole model passes through a folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.engines.request import Adapter, Request
from tasks.settings.errors import UserError
from tasks.trainers.packing import Context

if TYPE_CHECKING:
    from tasks.engines.decode import SampledTokens
    from tasks.engines.vllm import VLLMEngine


class RolloutEngine:
    """An engine that follows a model in training."""

    def __init__(self, engine: VLLMEngine, write: Callable[[Any, Path], None], scratch: Path) -> None:
        """`write` puts a policy's trained weights into a folder, as the stage's result will lie there."""
        self._engine, self._write, self._scratch = engine, write, scratch
        self._steps = 0

    def sample(self, policy: Any, requests: Sequence[Request], prompts: Sequence[Context]) -> list[list[SampledTokens]]:
        """`requests[i].n` samples each by the policy. UserError where the engine reads a prompt as other tokens."""
        folder = self._scratch / f"policy-{self._steps}"
        self._write(policy, folder)
        adapter = self._served(folder)
        found, samples = self._engine.sample([replace(request, adapter=adapter) for request in requests])
        for prompt, ids in zip(prompts, found, strict=True):
            if prompt.ids.tolist() != ids:
                told = f"a prompt of {len(prompt.ids)} tokens as one of {len(ids)}"
                raise UserError(f"vLLM reads {told}: leave min_pixels and max_pixels of train.<role>.vllm out.")
        shutil.rmtree(folder)
        self._steps += 1
        return samples

    def _served(self, folder: Path) -> Adapter | None:
        if (folder / "adapter_config.json").is_file():
            return Adapter(folder.name, folder)
        self._engine.reload(folder)
        return None
