"""Prompt templates: jinja2 templates in the config, checked when the config is loaded."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, model_validator

from tasks.records.prompt import Prompt
from tasks.settings.base import Settings

if TYPE_CHECKING:
    from jinja2 import Template


class PromptTemplate(Settings):
    """One role's prompt: templates of the system and the user message, and the maximum length of the reply."""

    variables: ClassVar[frozenset[str]] = frozenset()
    """Names that the role's templates may use."""

    user: str = Field(min_length=1)
    """Template of the user message; the picture, if the role sees one, comes before the text."""
    system: str | None = None
    """Template of the system message; null sends none."""
    max_tokens: int = Field(gt=0)
    """Maximum length of the reply, in tokens."""

    @model_validator(mode="after")
    def _check_templates(self) -> PromptTemplate:
        for source in (self.user, self.system or ""):
            _check(source, self.variables)
        return self

    def render(self, **values: object) -> Prompt:
        """The prompt with `values` filled in."""
        system = None if self.system is None else _template(self.system).render(values).strip()
        return Prompt(user=_template(self.user).render(values).strip(), system=system)


def _check(source: str, allowed: frozenset[str]) -> None:
    """ValueError where the template does not parse or uses a variable that the role does not have."""
    from jinja2 import Environment, TemplateSyntaxError, meta

    try:
        unknown = meta.find_undeclared_variables(Environment(autoescape=False).parse(source)) - allowed
    except TemplateSyntaxError as error:
        raise ValueError(f"template does not parse: {error.message} (line {error.lineno})") from None
    if unknown:
        known = ", ".join(sorted(allowed)) or "none"
        raise ValueError(f"template uses unknown variable {', '.join(sorted(unknown))} (known: {known})")


@lru_cache(maxsize=64)
def _template(source: str) -> Template:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    return SandboxedEnvironment(undefined=StrictUndefined, autoescape=False).from_string(source)
