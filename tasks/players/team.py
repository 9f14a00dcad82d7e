"""The team of a round: one base model, and the trained weights of each role.

A `Team` enters the fingerprints of stages. `team.open()` loads it while a stage samples from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self, get_args

from pydantic import ConfigDict

from tasks.config import PromptTemplates, RunConfig
from tasks.engines import EngineConfig
from tasks.engines.open_engines import engines_for_stage
from tasks.engines.pictures import OWN_LIMITS, PictureBudget
from tasks.execution.stage import partial_results
from tasks.players.hub import HubModel
from tasks.players.sampler import Role, Sampler
from tasks.players.weights import Weights, base_model, weights_of
from tasks.records import Step
from tasks.settings.base import Frozen
from tasks.store import Artifact


class Team(Frozen):
    """The base model, and the training stage's artifact of each role that has been trained."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    model: Path | HubModel
    """A local folder (in fingerprints by its contents) or a hub repository at one commit."""
    engine: EngineConfig
    prompts: PromptTemplates
    pictures: PictureBudget = OWN_LIMITS
    searcher: Artifact[Step] | None = None
    questioner: Artifact[Step] | None = None
    solver: Artifact[Step] | None = None

    @classmethod
    def base(cls, config: RunConfig) -> Self:
        """The untrained team: the base model in all three roles. UserError if the model is not found."""
        settings = {"engine": config.engine, "prompts": config.prompts, "pictures": config.pictures}
        return cls(model=base_model(config.model), **settings)

    def with_players(self, **roles: Artifact[Step]) -> Self:
        """This team with other trained weights in the named roles."""
        return self.model_copy(update=roles)

    def solver_alone(self) -> Self:
        """This team's Solver with all other roles untrained: all that an evaluation depends on."""
        return self.model_copy(update={role: None for role in get_args(Role) if role != "solver"})

    @contextmanager
    def open(self, seed: int) -> Iterator[Sampler]:
        """A sampler of this team. Engines open with the first request; a round keeps them for its next stage."""
        with engines_for_stage(self.engine, self.pictures) as engines:
            yield Sampler(self.prompts, self._weights_of, engines, seed, partial_results())

    def _weights_of(self, role: Role) -> Weights:
        """The trained weights of a role; the base model's for a role that no stage trains."""
        return weights_of(self.model, getattr(self, role, None))
