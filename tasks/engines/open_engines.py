"""The engines of a round: one per base model, for the frozen team and for the policy in training.

Starting an engine takes seconds to minutes, so it lives as long as the round's stages need its base model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import cast

from tasks.engines import EngineConfig, Ray
from tasks.engines.pictures import PictureBudget
from tasks.engines.protocol import Engine, PolicyEngine
from tasks.execution.kept import kept_or_own


class Engines:
    """One engine per base model, opened at the model's first request."""

    def __init__(self, config: EngineConfig, pictures: PictureBudget) -> None:
        self._config, self._pictures = config, pictures
        self._open: dict[tuple[str, bool], Engine] = {}
        self._used: set[tuple[str, bool]] = set()
        """The engines that the present stage has used."""

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

    @property
    def leave_room_for_ranks(self) -> bool:
        """Whether a training's ranks stand on the GPUs of the engine's replicas."""
        return isinstance(self._config, Ray) and self._config.share

    @contextmanager
    def stage(self, config: EngineConfig, pictures: PictureBudget) -> Iterator[Engines]:
        """These engines for one stage with these settings. After an error they are closed: their state is unknown.

        An engine whose weights have changed ends with its stage. Other settings, or a base model that no open engine
        serves, end the engines that this stage has not used.
        """
        if (config, pictures) != (self._config, self._pictures):
            self.close()
            self._config, self._pictures = config, pictures
        self._used.clear()
        try:
            yield self
        except BaseException:
            self.close()
            raise
        self._close({key for key in self._open if key[1]})

    def close(self) -> None:
        """Close all open engines."""
        self._close(set(self._open))

    def _opened(self, model: str, *, changing: bool) -> Engine:
        key = (model, changing)
        if key not in self._open:
            self._close(set(self._open) - self._used)
            self._open[key] = self._config.open(model, self._pictures)
        self._used.add(key)
        return self._open[key]

    def _close(self, keys: set[tuple[str, bool]]) -> None:
        for key in keys:
            self._open.pop(key).close()


@contextmanager
def engines_for_stage(config: EngineConfig, pictures: PictureBudget) -> Iterator[Engines]:
    """The engines of a stage: those that the round keeps open, or else engines that end with this block."""
    with (
        kept_or_own("engines", lambda: closing(Engines(config, pictures))) as engines,
        engines.stage(config, pictures),
    ):
        yield engines
