"""Engines turn requests into completions. `EngineConfig` is any engine's settings; `.open(model)` loads the engine."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tasks.engines.protocol import EngineSettings
from tasks.engines.replicas import Ray
from tasks.engines.scripted import Scripted
from tasks.engines.server import Server
from tasks.engines.transformers import Transformers
from tasks.engines.vllm import VLLM

EngineConfig = Annotated[Transformers | VLLM | Scripted | Ray | Server, Field(discriminator="kind")]
"""Any engine's settings. A new engine is a new file and a member of this union."""


def of_one_replica(config: EngineConfig) -> Transformers | VLLM | Scripted | Server:
    """The settings of each replica where there are replicas; else the engine's own."""
    return config.of if isinstance(config, Ray) else config


def setting_name(config: EngineConfig, name: str) -> str:
    """The key of a replica's setting as a user writes it: `engine.of.rows` where there are replicas."""
    return f"engine.of.{name}" if isinstance(config, Ray) else f"engine.{name}"


if TYPE_CHECKING:

    def _satisfies_protocol(config: EngineConfig) -> EngineSettings:
        """Makes mypy compare every member of the union with the protocol."""
        return config


__all__ = [
    "VLLM",
    "EngineConfig",
    "EngineSettings",
    "Ray",
    "Scripted",
    "Server",
    "Transformers",
    "of_one_replica",
    "setting_name",
]
