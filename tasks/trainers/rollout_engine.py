"""The rollout engine: one of the stage's engines, which samples with the current weights of the model in training.

Before every step the weights pass through a folder. An adapter is served unmerged: merged into weights of 16 bits, as
TRL's own vLLM mode does it, updates smaller than the last bit are lost. Without an adapter, vLLM reloads the model.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.engines.protocol import PolicyEngine
from tasks.engines.request import Adapter, Request, Sampling
from tasks.settings.errors import UserError
from tasks.trainers.example import Example

if TYPE_CHECKING:
    from tasks.engines.decode import SampledTokens


class RolloutEngine:
    """Samples rollouts of a policy whose weights change between calls."""

    def __init__(self, engine: PolicyEngine, write: Callable[[Any, Path], None], scratch: Path) -> None:
        """`write` puts a policy's trained weights into a folder, in the form of the trainer's result."""
        self._engine, self._write, self._scratch = engine, write, scratch
        self._calls = 0

    def sample(
        self, policy: Any, requests: Sequence[Request], prompts: Sequence[list[int]]
    ) -> list[list[SampledTokens]]:
        """`requests[i].n` samples each by the policy's current weights.

        `prompts` are the trainer's token ids of each prompt. `UserError` if the engine's differ.
        """
        folder = self._scratch / f"policy-{self._calls}"
        self._write(policy, folder)
        adapter = self._serve(folder)
        token_ids, samples = self._engine.sample([replace(request, adapter=adapter) for request in requests])
        for prompt, ids in zip(prompts, token_ids, strict=True):
            if prompt != ids:
                raise UserError(
                    f"the engine reads a prompt of {len(prompt)} tokens as {len(ids)} tokens: "
                    "its processor is not the one that was saved with the model."
                )
        shutil.rmtree(folder)
        self._calls += 1
        return samples

    def fits(self, example: Example, sampling: Sampling) -> bool:
        """Whether the engine can read the example's prompt and write its longest completion."""
        return self._engine.fits(Request(example.prompt, example.picture, None, sampling))

    def _serve(self, folder: Path) -> Adapter | None:
        """The adapter in the folder, or None after a reload of the whole model in it."""
        if (folder / "adapter_config.json").is_file():
            return Adapter(f"{self._scratch.name}-{folder.name}", folder)  # engines outlive a training
        self._engine.reload(folder)
        return None
