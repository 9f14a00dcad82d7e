"""The words a role is asked with: jinja2 templates that live in the config, checked when it is loaded."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, model_validator

from tasks.records.prompt import Prompt
from tasks.settings.base import Settings

if TYPE_CHECKING:
    from jinja2 import Template


class PromptTemplate(Settings):
    """One role's prompt: templates for the system and the user's text, and how long the reply may be."""

    variables: ClassVar[frozenset[str]] = frozenset()

    user: str = Field(min_length=1)
    """Template of the user's text (the picture, where there is one, goes before it)."""
    system: str | None = None
    """Template of the system text; null sends none."""
    max_tokens: int = Field(gt=0)
    """Longest reply, in tokens."""

    @model_validator(mode="after")
    def _templates_render(self) -> PromptTemplate:
        for source in (self.user, self.system or ""):
            _check(source, self.variables)
        return self

    def render(self, **values: object) -> Prompt:
        """The prompt with `values` filled in."""
        system = None if self.system is None else _template(self.system).render(values).strip()
        return Prompt(user=_template(self.user).render(values).strip(), system=system)


def _check(source: str, allowed: frozenset[str]) -> None:
    """Raise ValueError where the template does not parse or names a variable that the role does not have."""
    from jinja2 import Environment, TemplateSyntaxError, meta

    try:
        unknown = meta.find_undeclared_variables(Environment(autoescape=False).parse(source)) - allowed
    except TemplateSyntaxError as error:
        raise ValueError(f"template does not parse: {error.message} (line {error.lineno})") from None
    if unknown:
        known = ", ".join(sorted(allowed)) or "none"
        raise ValueError(f"template names unknown variable {', '.join(sorted(unknown))} (known: {known})")


@lru_cache(maxsize=64)
def _template(source: str) -> Template:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    return SandboxedEnvironment(undefined=StrictUndefined, autoescape=False).from_string(source)
