"""Models of the Hugging Face hub: a repository at one commit, and its files on this disk.

A name leads to other weights once its owner pushes, so the commit enters fingerprints. `owner/model` is the current
commit of the branch `main` (offline, the commit when the hub was last reached); `owner/model@revision` is a commit,
branch or tag.
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
"""Files to download: configuration, tokenizer, processor, and weights in the one format that cannot hold code."""


class HubModel(Frozen):
    """A repository at one commit."""

    repository: str
    commit: str

    def __str__(self) -> str:
        return f"{self.repository}@{self.commit}"

    def folder(self) -> Path:
        """The folder of the model's files, downloaded if needed. UserError if the download fails."""
        return self._snapshot(local=self.is_here())

    def is_here(self) -> bool:
        """Whether the files are on this disk already."""
        try:
            return self._snapshot(local=True).is_dir()
        except UserError:
            return False

    def _snapshot(self, local: bool) -> Path:
        import httpx
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            folder = snapshot_download(
                self.repository, revision=self.commit, allow_patterns=FILES, local_files_only=local
            )
        except (httpx.HTTPError, ConnectionError, LocalEntryNotFoundError) as error:
            raise UserError(f"model {self} cannot be downloaded: {_reason(error)}") from error
        return Path(folder)


@lru_cache
def hub_model(name: str) -> HubModel | None:
    """The model named `owner/model` or `owner/model@revision`; None where the text is no such name.

    Each process resolves a name once. Where the hub cannot be reached, the commit of the last time holds, and the hub's
    client logs it. UserError if the hub has no such model, or if neither the hub nor this disk knows the commit.
    """
    import httpx
    from huggingface_hub import resolve_revision
    from huggingface_hub.errors import HFValidationError, RevisionResolutionError

    if (named := NAME.fullmatch(name)) is None:
        return None
    logging.getLogger("huggingface_hub.hf_api").setLevel(
        logging.WARNING
    )  # logs the fallback even where the client is set to be quiet
    try:
        revision = resolve_revision(named["repository"], revision=named["revision"])
    except (httpx.HTTPError, RevisionResolutionError, HFValidationError) as error:
        raise UserError(f"model {name} cannot be used: {_reason(error)}") from error
    return HubModel(repository=named["repository"], commit=revision.resolved)


def _reason(error: Exception) -> str:
    """What one of the hub's exceptions means, and what to do."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    match error:
        case HFValidationError():
            return "this is no valid model name; give owner/model."
        case GatedRepoError():
            return "access is restricted; accept the terms on the model's page and set HF_TOKEN."
        case RepositoryNotFoundError():
            return "the hub has no such model, or it is private; check the name, or set HF_TOKEN."
        case RevisionNotFoundError():
            return "the hub has no such revision of this model; check the part after the @."
    return "the hub cannot be reached, and the model is not on this disk; check the connection, or give a folder."
