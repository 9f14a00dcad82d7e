"""Engines turn requests into completions. `EngineConfig` is any engine's settings; `.open(model)` loads the engine."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tasks.engines.protocol import EngineSettings
from tasks.engines.scripted import Scripted
from tasks.engines.transformers import Transformers
from tasks.engines.vllm import VLLM

EngineConfig = Annotated[Transformers | VLLM | Scripted, Field(discriminator="kind")]
"""Any engine's settings. A new engine is a new file and a member of this union."""

if TYPE_CHECKING:

    def _satisfies_protocol(config: EngineConfig) -> EngineSettings:
        """Makes mypy compare every member of the union with the protocol."""
        return config


__all__ = ["VLLM", "EngineConfig", "EngineSettings", "Scripted", "Transformers"]
