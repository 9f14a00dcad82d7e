"""Models of the Hugging Face hub: a repository at one commit, and its files on this disk.

A name alone leads to other weights once its owner pushes, so what enters an fingerprinted is the commit. `owner/model`
is what the hub calls `main` now (or what it called so when it was last reached); `owner/model@revision` is a commit, a
branch or a tag.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from pathlib import Path

from tasks.settings.base import Frozen
from tasks.settings.errors import UserError

NAME = re.compile(r"(?P<repository>[\w-][\w.-]*/[\w.-]+)(@(?P<revision>[\w./-]+))?")
FILES = ["*.json", "*.jinja", "*.txt", "*.safetensors"]
"""What is downloaded: configuration, tokenizer, processor, and weights in the one format that cannot hold code."""


class HubModel(Frozen):
    """A repository at one commit."""

    repository: str
    commit: str

    def __str__(self) -> str:
        return f"{self.repository}@{self.commit}"

    def folder(self) -> Path:
        """Where its files lie; they are downloaded if they are not there yet. UserError if they cannot be had."""
        return self._snapshot(local=self.is_here())

    def is_here(self) -> bool:
        """Whether nothing would have to be downloaded."""
        try:
            return self._snapshot(local=True).is_dir()
        except UserError:
            return False

    def _snapshot(self, local: bool) -> Path:
        import httpx
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            found = snapshot_download(
                self.repository, revision=self.commit, allow_patterns=FILES, local_files_only=local
            )
        except (httpx.HTTPError, ConnectionError, LocalEntryNotFoundError) as error:
            raise UserError(f"model {self} cannot be downloaded: {_why(error)}") from error
        return Path(found)


@lru_cache
def hub_model(name: str) -> HubModel | None:
    """The model that `owner/model` or `owner/model@revision` stands for; None where the text is no such name.

    Asked of the hub once a process; where the hub cannot be reached, what it last said holds, and its client says so.
    UserError where it knows no such model, or neither it nor this disk says which commit is meant.
    """
    import httpx
    from huggingface_hub import resolve_revision
    from huggingface_hub.errors import HFValidationError, RevisionResolutionError

    if (named := NAME.fullmatch(name)) is None:
        return None
    logging.getLogger("huggingface_hub.hf_api").setLevel(logging.WARNING)  # also where the client is told to be quiet
    try:
        revision = resolve_revision(named["repository"], revision=named["revision"])
    except (httpx.HTTPError, RevisionResolutionError, HFValidationError) as error:
        raise UserError(f"model {name} cannot be used: {_why(error)}") from error
    return HubModel(repository=named["repository"], commit=revision.resolved)


def _why(error: Exception) -> str:
    """What the hub's exceptions mean, and what to do."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    match error:
        case HFValidationError():
            return "that is no name for a model: give owner/model."
        case GatedRepoError():
            return "its owner asks who you are: agree to the terms on its page and set HF_TOKEN."
        case RepositoryNotFoundError():
            return "the hub has no such model, or it is private: look at the name, or set HF_TOKEN."
        case RevisionNotFoundError():
            return "the hub has no such revision of it: look at what stands behind the @."
    return "the hub cannot be reached, and it has not been downloaded before: look at the connection, or give a folder."
