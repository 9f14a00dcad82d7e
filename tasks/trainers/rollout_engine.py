"""The rollout engine: one of the stage's engines, which samples with the current weights of the model in training.

Before every step the weights pass through a folder. An adapter is served unmerged: merged into weights of 16 bits, as
TRL's own vLLM mode does it, updates smaller than the last bit are lost. Without an adapter, vLLM reloads the model.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tasks.engines.request import Adapter, Request

if TYPE_CHECKING:
    from tasks.engines.decode import SampledTokens


class PolicySampler(Protocol):
    """The part of a `PolicyEngine` that draws rollouts."""

    def sample(self, requests: Sequence[Request]) -> tuple[list[list[int]], list[list[SampledTokens]]]:
        """See `PolicyEngine.sample`."""
        ...

    def reload(self, folder: Path) -> None:
        """See `PolicyEngine.reload`."""
        ...


class RolloutEngine:
    """Samples rollouts of a policy whose weights change between calls."""

    def __init__(self, engine: PolicySampler, write: Callable[[Any, Path], None], scratch: Path) -> None:
        """`write` puts a policy's trained weights into a folder, in the form of the trainer's result."""
        self._engine, self._write, self._scratch = engine, write, scratch
        self._calls = 0

    def sample(self, policy: Any, requests: Sequence[Request]) -> tuple[list[list[int]], list[list[SampledTokens]]]:
        """See `PolicyEngine.sample`: by the policy's current weights. All ranks call it, since all write shards."""
        from tasks.trainers import ranks

        folder = self._scratch / f"policy-{self._calls}"
        self._write(policy, folder)
        self._calls += 1
        return ranks.from_first(lambda: self._sampled(folder, requests))

    def _sampled(self, folder: Path, requests: Sequence[Request]) -> tuple[list[list[int]], list[list[SampledTokens]]]:
        adapter = self._serve(folder)
        answers = self._engine.sample([replace(request, adapter=adapter) for request in requests])
        shutil.rmtree(folder)
        return answers

    def _serve(self, folder: Path) -> Adapter | None:
        """The adapter in the folder, or None after a reload of the whole model in it."""
        if (folder / "adapter_config.json").is_file():
            return Adapter(f"{self._scratch.name}-{folder.name}", folder)  # engines outlive a training
        self._engine.reload(folder)
        return None
