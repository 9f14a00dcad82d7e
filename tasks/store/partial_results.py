"""What a stage has made so far, kept so that a stage that is killed need not make it again.

PartialResults lie in the stage's folder under the digest of what the stage computes, so no other setting ever reads
them. A partial result's name holds the sha256 of its bytes: one that was damaged, or only half written, is no partial
result. Nothing depends on them: they are written without a commit, and removed once the stage has its own.
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
    """The partial results of one stage that computes one thing. Only who holds the lease on its place may use them."""

    files: Files
    folder: str

    @property
    def names(self) -> list[str]:
        """Names of the partial results that are there, sorted."""
        return sorted(self._paths)

    def fetch(self, name: str, local: Path) -> bool:
        """Copy a partial result to a local file; False where there is none that is whole."""
        path = self._paths.get(name)
        if path is None:
            return False
        try:
            self.files.get(path, local)
        except FileNotFoundError:
            log.warning("%s is gone: what it held is made again", path)
            return False
        if path == self._path(name, local):
            return True
        log.warning("%s is damaged: what it held is made again", path)
        local.unlink()
        self.discard(name)
        return False

    def keep(self, name: str, local: Path) -> None:
        """Store a local file as a partial result. Raises `StoreFault`."""
        path = self._path(name, local)
        self.files.put(local, path)
        self._paths[name] = path

    def discard(self, *names: str) -> None:
        """Remove these partial results. A store that refuses is only told of: `active-zero gc` removes them later."""
        try:
            for name in names:
                self.files.remove(self._paths.pop(name))
            if names and not self._paths:
                self.files.prune(self.folder)
        except StoreFault as error:
            log.warning(
                "partial results in %s could not be removed, active-zero gc does it later: %s", self.folder, error
            )

    def clear(self) -> None:
        """Remove them all: the stage is complete, so a store that refuses is only told of."""
        try:
            self.discard(*self.names)
        except StoreFault as error:
            log.warning(
                "partial results in %s could not be listed, active-zero gc removes them later: %s", self.folder, error
            )

    @cached_property
    def _paths(self) -> dict[str, str]:
        """Looked up once: nobody else writes here."""
        files, _ = self.files.listing(self.folder)
        return {match["name"]: file.path for file in files if (match := NAMED.fullmatch(file.name))}

    def _path(self, name: str, local: Path) -> str:
        return f"{self.folder}/{name}.{file_sha256(local)}"
