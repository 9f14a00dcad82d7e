"""Partial results: what a running stage stores so that a killed stage resumes.

They are stored in the stage's folder under the digest of the stage's fingerprint, so no other settings ever read them.
The name of a partial result contains the sha256 of its bytes: a damaged or truncated one is ignored. Nothing depends
on partial results: they are written without a commit, and removed once the stage is complete.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tasks.settings.fingerprint import file_sha256
from tasks.store.faults import StoreFault
from tasks.store.files import Files

PARTIAL = "partial"
NAMED = re.compile(r"(?P<name>.+)\.(?P<sha256>[0-9a-f]{64})")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PartialResults:
    """The partial results of one stage with one fingerprint. Only the owner of the place's lease may use them."""

    files: Files
    folder: str

    @property
    def names(self) -> list[str]:
        """Names of the stored partial results, sorted."""
        return sorted(self._paths)

    def fetch(self, name: str, local: Path) -> bool:
        """Copy a partial result to a local file; False where it is missing or damaged."""
        path = self._paths.get(name)
        if path is None:
            return False
        try:
            self.files.get(path, local)
        except FileNotFoundError:
            log.warning("%s is missing: this partial result is computed again", path)
            return False
        if path == self._path(name, local):
            return True
        log.warning("%s is damaged: this partial result is computed again", path)
        local.unlink()
        self.discard(name)
        return False

    def keep(self, name: str, local: Path) -> None:
        """Store a local file as a partial result. Raises `StoreFault`."""
        path = self._path(name, local)
        self.files.put(local, path)
        self._paths[name] = path

    def discard(self, *names: str) -> None:
        """Remove these partial results. A store fault is only logged: `active-zero gc` removes them later."""
        try:
            for name in names:
                self.files.remove(self._paths.pop(name))
            if names and not self._paths:
                self.files.prune(self.folder)
        except StoreFault as error:
            log.warning(
                "partial results in %s could not be removed (active-zero gc removes them later): %s", self.folder, error
            )

    def clear(self) -> None:
        """Remove all partial results: the stage is complete, so a store fault is only logged."""
        try:
            self.discard(*self.names)
        except StoreFault as error:
            log.warning(
                "partial results in %s could not be listed (active-zero gc removes them later): %s", self.folder, error
            )

    @cached_property
    def _paths(self) -> dict[str, str]:
        """Addresses by name, listed once: no other process writes here."""
        files, _ = self.files.listing(self.folder)
        return {match["name"]: file.path for file in files if (match := NAMED.fullmatch(file.name))}

    def _path(self, name: str, local: Path) -> str:
        return f"{self.folder}/{name}.{file_sha256(local)}"
