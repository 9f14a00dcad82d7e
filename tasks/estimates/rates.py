"""Measured rates of a card, with its price: a YAML file such as `configs/rates-h100.yaml`.

A rate is given as it was measured: what was timed, and how long it took. Other lengths of prompt and completion are
scaled by tokens, a token that is read costing `read` of one that is written.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from tasks.settings.base import Settings
from tasks.settings.errors import UserError
from tasks.settings.overlay import find_config, read_config, validate

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Lengths(Settings):
    """Tokens of the prompts and completions that were timed."""

    prompt: Count
    """Tokens of a prompt, the picture's included."""
    completions: Count
    """Completions of each prompt, which is read once for all of them."""
    tokens: Count
    """Tokens of a completion."""

    def weight(self, read: float) -> float:
        """The cost of a prompt with its completions, in written tokens."""
        return read * self.prompt + self.completions * self.tokens


class ScoringRate(Lengths):
    """Answers of a frozen model on one card."""

    tokens_per_second: Positive
    """Completion tokens a second."""

    def seconds(self, weight: float, read: float) -> float:
        """The time of so many written tokens, or what costs as much."""
        return weight / self.weight(read) * self.completions * self.tokens / self.tokens_per_second


class TrainingRate(Lengths):
    """A step of GRPO on one card: its rollouts, the passes over them, the update of an adapter."""

    prompts: Count
    """Prompts of the step."""
    seconds_per_step: Positive
    """Seconds of the step, without its reward."""

    def seconds(self, weight: float, read: float) -> float:
        """The time of rollouts that cost as much as so many written tokens."""
        return weight / self.weight(read) * self.seconds_per_step / self.prompts


class ModelRates(Settings):
    """The rates of one model."""

    scoring: ScoringRate
    """Frozen roles."""
    training: TrainingRate
    """A role in training."""


class Rates(Settings):
    """What a card does in a second, and what it costs."""

    card: str
    """The card that was measured, as `--gpu` of `doctor` names it."""
    date: date
    """The day of the measurement."""
    price: Annotated[float, Field(ge=0)]
    """Price of one card for an hour."""
    currency: str = "USD"
    """The price's currency."""
    read: Annotated[float, Field(ge=0)]
    """Cost of a prompt's token, relative to one that is written."""
    whole: Positive
    """Time of a step that trains the whole model, relative to one that trains an adapter."""
    efficiency: Annotated[float, Field(gt=0, le=1)]
    """Share of the time that several replicas are at work."""
    start: Annotated[float, Field(ge=0)]
    """Seconds of a stage with models before it samples: processes, weights, pictures."""
    other: Annotated[float, Field(ge=0)]
    """Seconds of a stage without models."""
    tokens: dict[Literal["searcher", "questioner", "solver"], Count] = Field(default={})
    """Mean tokens of a completion by role; a role that is left out writes the most that it may."""
    models: Annotated[dict[str, ModelRates], Field(min_length=1)]
    """Rates by the model's name."""

    def mean_tokens(self, role: str, limit: int) -> int:
        """Tokens of a role's completion, which has `limit` tokens at most."""
        return min(limit, next((tokens for name, tokens in self.tokens.items() if name == role), limit))

    def of_model(self, name: str) -> ModelRates:
        """The rates of a model, with or without `@revision`. UserError if it was not measured."""
        if (found := self.models.get(name.partition("@")[0])) is not None:
            return found
        raise UserError(f"the rates of {self.card} have no model {name}: they have {', '.join(self.models)}; add it")


def load_rates(name: str) -> Rates:
    """The rates in a file (a path, or a name in `configs/`). UserError, in one line, for any mistake in it."""
    path = find_config(name, "rates")
    return validate(Rates, read_config(path), f"rates {path.name}")
