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
    """A field of pictures that the Searcher may be sent to."""

    name: str = Field(min_length=1)
    """What it is called, in the prompt and in every table."""
    focus: tuple[str, ...] = ()
    """Key words of what such pictures show; the probe looks for pictures with them."""

    @property
    def words(self) -> str:
        """The domain as a plain text query."""
        return ", ".join((self.name, *self.focus))


class SearcherTemplate(PromptTemplate):
    """Templates may name `domain` (its `name` and `focus`)."""

    variables: ClassVar[frozenset[str]] = frozenset({"domain"})


@dataclass(frozen=True)
class Query:
    """What the Searcher looks for."""

    text: str


def prompt(wording: SearcherTemplate, domain: Domain) -> Prompt:
    """Ask for a query within `domain`."""
    return wording.render(domain=domain)


def parse(text: str) -> Query | Reject:
    """The one query of `text`, wherever it stands; the type may be missing."""
    match contents("query", text):
        case []:
            return Reject(reason="no query")
        case [""]:
            return Reject(reason="empty query")
        case [query]:
            return Query(query)
        case _:
            return Reject(reason="several queries")


def well_formed(text: str) -> bool:
    """The text is the two tags in order and nothing else."""
    return consists_of(TAGS, text)
