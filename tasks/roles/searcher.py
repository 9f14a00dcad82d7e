r"""The Searcher writes a text query that retrieves pictures: `<type>...</type><query>...</query>`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from tasks.records import Reject
from tasks.records.prompt import Prompt
from tasks.roles.prompt_template import PromptTemplate
from tasks.roles.tags import consists_of, contents
from tasks.settings.base import Settings

TAGS = ("type", "query")


class Domain(Settings):
    """A domain of pictures that the Searcher is asked to search in."""

    name: str = Field(min_length=1)
    """Name of the domain, in the prompt and in every table."""
    focus: tuple[str, ...] = ()
    """Words for what pictures of the domain show; the probe retrieves its pictures by them."""

    @property
    def query(self) -> str:
        """The domain as a text query: its name and focus words."""
        return ", ".join((self.name, *self.focus))


class SearcherTemplate(PromptTemplate):
    """Prompt template of the Searcher; its variable is `domain`, with `domain.name` and `domain.focus`."""

    variables: ClassVar[frozenset[str]] = frozenset({"domain"})


@dataclass(frozen=True)
class Query:
    """A query parsed from the Searcher's text."""

    text: str


def prompt(template: SearcherTemplate, domain: Domain) -> Prompt:
    """The prompt that asks for a query in `domain`."""
    return template.render(domain=domain)


def parse(text: str | Reject) -> Query | Reject:
    """The one query in the text, at any place; the type may be missing."""
    if isinstance(text, Reject):
        return text
    match contents("query", text):
        case []:
            return Reject(reason="no query")
        case [""]:
            return Reject(reason="empty query")
        case [query]:
            return Query(query)
        case _:
            return Reject(reason="several queries")


def well_formed(text: str | Reject) -> bool:
    """Whether the text is the two tags in order and nothing else."""
    return not isinstance(text, Reject) and consists_of(TAGS, text)
