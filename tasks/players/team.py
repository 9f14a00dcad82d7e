"""The three players of a round: one base model, one adapter a role.

A `Team` is what a stage's fingerprinted is made of; `team.open()` loads it for the time of the work.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from pydantic import ConfigDict

from tasks.config import PromptTemplates, RunConfig
from tasks.engines import EngineConfig
from tasks.execution.stage import partial_results
from tasks.players.hub import HubModel
from tasks.players.sampler import Engines, Sampler
from tasks.players.weights import base_model, weights_of
from tasks.records import Step
from tasks.settings.base import Frozen
from tasks.store import Artifact


class Team(Frozen):
    """Who plays: the base model and, where a role has been trained, its stage's artifact."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    model: Path | HubModel
    """A local folder (in fingerprints by its contents) or a hub's repository at one commit."""
    engine: EngineConfig
    prompts: PromptTemplates
    searcher: Artifact[Step] | None = None
    questioner: Artifact[Step] | None = None
    solver: Artifact[Step] | None = None

    @classmethod
    def base(cls, config: RunConfig) -> Self:
        """All three roles played by the untrained base model."""
        return cls(model=base_model(config.model), engine=config.engine, prompts=config.prompts)

    def having(self, **roles: Artifact[Step]) -> Self:
        """This team with other players in the named roles."""
        return self.model_copy(update=roles)

    def solver_alone(self) -> Self:
        """This team's Solver with an untrained Searcher and Questioner: what an examination depends on."""
        return self.model_copy(update={"searcher": None, "questioner": None})

    @contextmanager
    def open(self, seed: int) -> Iterator[Sampler]:
        """The team, ready to be asked. Engines open with the first request and close with the block."""
        engines = Engines(self.engine)
        try:
            yield Sampler(
                self.prompts, lambda role: weights_of(self.model, getattr(self, role)), engines, seed, partial_results()
            )
        finally:
            engines.close()
