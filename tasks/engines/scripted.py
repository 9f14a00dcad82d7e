"""The scripted engine answers from a table: for tests that run whole rounds through Prefect in seconds."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import Field, field_validator

from tasks.engines.pictures import PictureBudget
from tasks.engines.protocol import Engine
from tasks.engines.request import Completion, Request
from tasks.settings.base import Settings
from tasks.settings.errors import UserError


class Rule(Settings):
    """The texts that answer one kind of prompt."""

    prompt: str = ""
    """A regular expression found in the prompt's system or user text; empty matches any prompt."""
    adapter: str | None = None
    """A regular expression found in the adapter's name, which is empty for the base model; null matches any adapter."""
    texts: tuple[str, ...] = Field(min_length=1)
    """The answers. Completion i of a request takes one of them by (seed, i), each with equal probability; greedy
    requests take the first. `\\\\1` or `\\\\g<name>` is replaced by what the prompt's expression captured."""

    @field_validator("prompt", "adapter")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return pattern

    def match(self, request: Request) -> re.Match[str] | None:
        """The match of the prompt's expression; None if the rule does not apply to this request."""
        name = request.adapter.name if request.adapter is not None else ""
        if self.adapter is not None and re.search(self.adapter, name) is None:
            return None
        return re.search(self.prompt, f"{request.prompt.system or ''}\n{request.prompt.user}")


class Scripted(Settings):
    """Answers by rules; the first rule that applies to a request answers it."""

    kind: Literal["scripted"] = "scripted"
    rules: tuple[Rule, ...] = ()
    """Tried in order."""

    @property
    def needs_gpu(self) -> bool:
        """See `EngineSettings.needs_gpu`."""
        return False

    @property
    def model_copies(self) -> int:
        """See `EngineSettings.model_copies`: no model is loaded."""
        return 0

    @property
    def draws_rollouts(self) -> bool:
        """See `EngineSettings.draws_rollouts`."""
        return False

    def open(self, model: str, pictures: PictureBudget) -> Engine:
        """The rules as an engine; the rest is ignored."""
        return ScriptedEngine(self)


class ScriptedEngine(Engine):
    """The rules, as an engine."""

    def __init__(self, config: Scripted) -> None:
        self._rules = config.rules

    def generate(
        self, requests: Sequence[Request], on_done: Callable[[int], None] | None = None
    ) -> list[list[Completion]]:
        """See `Engine.generate`. `UserError` for a prompt that no rule applies to."""
        results = []
        for request in requests:
            results.append(self._answer(request))
            if on_done is not None:
                on_done(request.n)
        return results

    def close(self) -> None:
        """Nothing to free."""

    def _answer(self, request: Request) -> list[Completion]:
        for rule in self._rules:
            if (match := rule.match(request)) is not None:
                return [_complete(match, _choose(rule.texts, request, i)) for i in request.numbers]
        raise UserError(f"no rule of the scripted engine answers {request.prompt.user[:80]!r}: add one to engine.rules")


def _choose(texts: tuple[str, ...], request: Request, i: int) -> str:
    """The text of completion `i`, by the same random numbers as a sampling engine."""
    from tasks.engines.sampling import uniforms

    if request.sampling.temperature == 0:
        return texts[0]
    return texts[int(uniforms(request.seed, i, 1)[0] * len(texts))]


def _complete(match: re.Match[str], template: str) -> Completion:
    """The text with the prompt's captures filled in; each word counts as a token."""
    text = re.sub(r"\\(\d|g<\w+>)", lambda reference: match.expand(reference.group()), template)
    return Completion(text, len(text.split()) + 1, finished=True)
