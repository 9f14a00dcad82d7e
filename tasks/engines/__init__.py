"""Engines: requests in, completions out. `EngineConfig` is any engine's configuration; `.open(model)` loads it."""

from typing import Annotated

from pydantic import Field

from tasks.engines.scripted import Scripted
from tasks.engines.transformers import Transformers
from tasks.engines.vllm import VLLM

EngineConfig = Annotated[Transformers | VLLM | Scripted, Field(discriminator="kind")]

__all__ = ["VLLM", "EngineConfig", "Scripted", "Transformers"]
