"""An engine that answers from a table: for tests that play whole rounds through Prefect in seconds."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import Field, field_validator

from tasks.engines.request import Completion, Engine, Request
from tasks.settings.base import Settings
from tasks.settings.errors import UserError


class Rule(Settings):
    """What is said to prompts of one kind."""

    prompt: str = ""
    """A regular expression found in the prompt's system or user text; empty for any prompt."""
    adapter: str | None = None
    """A regular expression found in the adapter's name, which is empty for the base model; None for any adapter."""
    texts: tuple[str, ...] = Field(min_length=1)
    """The answers: completion i of a request takes one of them by (seed, i), each as likely as the others; greedy
    requests take the first. `\\\\1` or `\\\\g<name>` stands for what the prompt's expression captured."""

    @field_validator("prompt", "adapter")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return pattern

    def match(self, request: Request) -> re.Match[str] | None:
        """Where the prompt's expression is found, if the rule speaks to this request."""
        name = request.adapter.name if request.adapter is not None else ""
        if self.adapter is not None and re.search(self.adapter, name) is None:
            return None
        return re.search(self.prompt, f"{request.prompt.system or ''}\n{request.prompt.user}")


class Scripted(Settings):
    """Answers by rules; the first rule that speaks to a request is taken."""

    kind: Literal["scripted"] = "scripted"
    rules: tuple[Rule, ...] = ()
    """Tried in order."""

    def open(self, model: str) -> Engine:
        """`model` is not looked at."""
        return ScriptedEngine(self)


class ScriptedEngine:
    """The rules, as an engine."""

    def __init__(self, config: Scripted) -> None:
        self._rules = config.rules

    def generate(
        self, requests: Sequence[Request], on_done: Callable[[int], None] | None = None
    ) -> list[list[Completion]]:
        """See `Engine.generate`. UserError for a prompt that no rule speaks to."""
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
    from tasks.engines.sampling import uniforms

    if request.sampling.temperature == 0:
        return texts[0]
    return texts[int(uniforms(request.seed, i, 1)[0] * len(texts))]


def _complete(match: re.Match[str], text: str) -> Completion:
    said = re.sub(r"\\(\d|g<\w+>)", lambda reference: match.expand(reference.group()), text)
    return Completion(said, len(said.split()) + 1, finished=True)
