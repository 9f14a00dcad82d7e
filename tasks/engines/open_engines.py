"""The engines that a stage has open: one per base model, for the frozen team and for the policy in training."""

from __future__ import annotations

from typing import cast

from tasks.engines import EngineConfig
from tasks.engines.pictures import PictureBudget
from tasks.engines.protocol import Engine, PolicyEngine


class Engines:
    """One engine per base model, opened at the model's first request."""

    def __init__(self, config: EngineConfig, pictures: PictureBudget) -> None:
        self._config, self._pictures = config, pictures
        self._open: dict[tuple[str, bool], Engine] = {}

    def for_model(self, model: str) -> Engine:
        """The open engine that serves `model`."""
        return self._opened(model, changing=False)

    def for_policy(self, model: str, *, whole: bool) -> PolicyEngine | None:
        """The engine that draws rollouts of a policy on the base `model`; None where its trainer draws them itself.

        An adapter is served by the engine of the frozen roles, since they share the base. A policy whose `whole`
        weights change has an engine of its own.
        """
        if not self._config.draws_rollouts:
            return None
        return cast(PolicyEngine, self._opened(model, changing=whole))

    def close(self) -> None:
        """Close all open engines."""
        while self._open:
            self._open.popitem()[1].close()

    def _opened(self, model: str, *, changing: bool) -> Engine:
        key = (model, changing)
        if key not in self._open:
            self._open[key] = self._config.open(model, self._pictures)
        return self._open[key]
