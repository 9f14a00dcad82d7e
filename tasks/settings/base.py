"""The two base classes of pydantic models here: what a person may set, and any other frozen record."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A record that cannot be changed and refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Settings(Frozen):
    """What a YAML file may say. The text beneath a field describes it, in `active-zero config` and in forms."""

    model_config = ConfigDict(use_attribute_docstrings=True)
