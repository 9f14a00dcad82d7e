"""The base classes of all pydantic models: `Settings` for what a user may set, `Frozen` for any other record."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A record that cannot be changed and refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Settings(Frozen):
    """Settings that a YAML file may hold. The text below a field describes it in `active-zero config` and in forms."""

    model_config = ConfigDict(use_attribute_docstrings=True)
