"""The store, and its places: a place is a folder whose stages belong together."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Self, TypeVar

import fsspec
from pydantic import JsonValue

from tasks.records import Row
from tasks.settings.addresses import without_secrets
from tasks.settings.errors import UserError
from tasks.settings.fingerprint import digest
from tasks.store.acquire import hold
from tasks.store.artifact import Artifact, Output, StaleArtifact
from tasks.store.attempt import Attempt
from tasks.store.files import Files, open_filesystem
from tasks.store.journal import JOURNAL, Journal
from tasks.store.lease import Lease
from tasks.store.manifest import MANIFEST, Manifest
from tasks.store.partial_results import PARTIAL, PartialResults

R = TypeVar("R", bound=Row)

log = logging.getLogger(__name__)

NAME = r"[a-z0-9][a-z0-9._-]*"


class Store:
    """A folder of artifacts behind any fsspec URL: `file://`, `s3://`, `memory://`. A bare path is a local folder.

    UserError for an address that holds a secret: manifests and logs show the address.
    """

    def __init__(self, url: str) -> None:
        fs, root = open_filesystem(without_secrets(url))
        self.url: str = fs.unstrip_protocol(root)
        self.files = Files(self.url)

    @property
    def fs(self) -> fsspec.AbstractFileSystem:
        return self.files.fs

    @property
    def root(self) -> str:
        return self.files.root

    @classmethod
    def from_environment(cls) -> Self:
        """The store at `ACTIVE_ZERO_STORE`; by default `artifacts/` in the working folder."""
        return cls(os.environ.get("ACTIVE_ZERO_STORE") or "artifacts")

    def runs(self) -> list[str]:
        """Names of the runs, sorted."""
        return self._folders("runs")

    def snapshot(self, *runs: str) -> AbstractContextManager[None]:
        """Read these runs, by default all, from one listing inside the block: for a command that only reads."""
        folder, names = f"{self.root}/runs", self.runs()
        chosen = [name for name in names if not runs or name in runs]
        return self.files.snapshot([f"{folder}/{name}" for name in chosen], {folder: names})

    def rounds(self, run: str) -> list[int]:
        """Numbers of a run's rounds, ascending. UserError for an unknown run."""
        if run not in self.runs():
            known = ", ".join(self.runs()) or "none yet"
            raise UserError(f"There is no run {run!r} in {self.url}; known runs: {known}.")
        names = self._folders(f"runs/{run}")
        return sorted(int(name.removeprefix("round-")) for name in names if re.fullmatch(r"round-\d+", name))

    def check_round(self, run: str, number: int) -> None:
        """UserError for a round that the run does not have."""
        rounds = self.rounds(run)
        if number not in rounds:
            known = ", ".join(map(str, rounds)) or "none yet"
            raise UserError(f"Run {run!r} has no round {number}; it has: {known}.")

    def stages(self, run: str, number: int) -> list[tuple[str, Manifest | None]]:
        """A round's stages in order (`2-...` before `10-...`), with their manifests; None where not complete."""
        self.check_round(run, number)
        place = Place.round(self, run, number)
        return [(name, place.manifest(name)) for name in sorted(self._folders(place.prefix), key=stage_order)]

    def _folders(self, prefix: str) -> list[str]:
        """Folders with a valid name; `_journal` has none."""
        _, folders = self.files.listing(f"{self.root}/{prefix}")
        return [name for name in folders if re.fullmatch(NAME, name)]


@dataclass(frozen=True)
class Place:
    """A folder of the store whose stages belong together: a round of a run, a corpus."""

    store: Store
    prefix: str
    """Relative to the store. Each segment starts with a letter or digit, so no name leads out of the store."""
    order: tuple[str, ...] = ()
    """The place's stages in order, which numbers their folders (see `folder`)."""

    def __post_init__(self) -> None:
        for segment in self.prefix.split("/"):
            _checked_name(segment)

    @classmethod
    def round(cls, store: Store, run: str, number: int, order: tuple[str, ...] = ()) -> Self:
        """Round `number` of a run; `order` names its stages in order."""
        return cls(store, f"runs/{_checked_name(run)}/round-{number:03d}", order)

    def folder(self, stage: str) -> str:
        """The folder of a stage: `6-filter` for the sixth stage of the order; the bare name outside it."""
        return f"{self.order.index(stage) + 1}-{stage}" if stage in self.order else _checked_name(stage)

    def uri(self, stage: str) -> str:
        """The folder of one stage, as an fsspec URL."""
        return f"{self.store.url}/{self.prefix}/{self.folder(stage)}"

    @property
    def journal(self) -> Journal:
        """The log of leases and commits of this place."""
        return Journal(self.store.files, f"{self.store.root}/{self.prefix}/{JOURNAL}")

    def manifest(self, stage: str) -> Manifest | None:
        """The manifest of a complete stage, its files unverified; None where the stage is not complete.

        Complete means: committed, and a whole `manifest.json` is there, which a person may remove. A damaged one is
        logged. Where `manifest.json` is of another attempt, a process wrote it after it had lost its lease; the
        committed manifest is returned.
        """
        stage = self.folder(stage)
        if committed := self._listed_manifest(stage):
            return committed
        try:
            published = self.store.files.read(self.journal.manifest(stage))
        except (FileNotFoundError, NotADirectoryError):
            return None
        commit, address = self.journal.commit(stage, self.journal.head()), f"{self.uri(stage)}/{MANIFEST}"
        if commit is None:
            log.warning("%s was not committed: the stage is not complete", address)
            return None
        return _committed_manifest(address, published, commit.manifest)

    def _listed_manifest(self, stage: str) -> Manifest | None:
        """The committed manifest, where a snapshot's ETag shows that the published copy equals it: it is not read."""
        listed = self.store.files.listed(self.journal.manifest(stage))
        if listed is None or (commit := self.journal.commit(stage, self.journal.head())) is None:
            return None
        same = listed.is_of(commit.manifest.encode())
        return Manifest.model_validate_json(commit.manifest) if same else None

    def find(self, stage: str, row_type: type[R]) -> Artifact[R] | None:
        """The artifact of a complete stage, verified; else None. Raises `DamagedArtifact`, `StaleArtifact`."""
        manifest = self.manifest(stage)
        return self.artifact(row_type, manifest) if manifest else None

    def artifact(self, row_type: type[R], manifest: Manifest) -> Artifact[R]:
        """The artifact that a manifest of this place describes, its files verified. Raises as `find`."""
        uri = self.uri(manifest.stage)
        if manifest.row_type != row_type.__name__:
            raise StaleArtifact(
                f"{uri} holds rows of {manifest.row_type}, not {row_type.__name__}, since another version wrote it: "
                "play the round, or build the corpus, again."
            )
        artifact = Artifact(uri, row_type, manifest)
        artifact.verify()
        return artifact

    def verify(self, manifest: Manifest) -> None:
        """Verify the files of a stage of this place, whatever their row type. Raises `DamagedArtifact`."""
        Artifact(self.uri(manifest.stage), Row, manifest).verify()

    def withdraw_from(self, stage: str, request: str | None = None, wait: bool = False) -> list[str]:
        """Mark this stage and those after it as not complete; returns the stages that were complete.

        `request` identifies the request in the journal. Where another process holds the lease: wait, or raise `Held`.
        """
        with self.hold(wait) as lease:
            complete = [name for name in self.journal.head().complete if stage_order(name) >= stage_order(stage)]
            lease.withdraw(complete, request)
        return sorted(complete, key=stage_order)

    def snapshot(self) -> AbstractContextManager[None]:
        """Read this place, and those below it, from one listing inside the block: for a command that only reads."""
        return self.store.files.snapshot([f"{self.store.root}/{self.prefix}"])

    def partial_results(self, stage: str, fingerprinted: dict[str, JsonValue]) -> PartialResults:
        """The partial results of a stage with this fingerprint. Only the lease's owner may use them."""
        return PartialResults(self.store.files, f"{self._address(stage)}/{PARTIAL}/{digest(fingerprinted)[:32]}")

    def hold(self, wait: bool) -> AbstractContextManager[Lease]:
        """The lease on this place for the time of a `with`; where another process holds it: wait, or raise `Held`."""
        return hold(self.journal, wait)

    def commit(
        self, stage: str, row_type: type[R], output: Output[R], fingerprinted: dict[str, JsonValue], seconds: float
    ) -> Artifact[R]:
        """Upload the output under a new attempt's id, then commit it.

        Raises `StoreFault` or `Fenced`; the stage's older artifact then stays the current one.
        """
        attempt = Attempt(self.folder(stage), row_type, output)
        with self.hold(wait=True) as lease:
            files = attempt.upload(self.store.files, self._address(stage))
            manifest = attempt.manifest(files, fingerprinted, seconds)
            lease.commit(manifest)
        return Artifact(self.uri(stage), row_type, manifest)

    def _address(self, stage: str) -> str:
        return f"{self.store.root}/{self.prefix}/{self.folder(stage)}"


def read_ahead(places: Sequence[Place]) -> None:
    """In a snapshot: fetch together what the manifests of these places need, journal ends first, then commits."""
    journals = [place.journal for place in places]
    files = places[0].store.files if places else None
    if files:
        files.fetch(last.path for journal in journals if (last := journal.last()))
        heads = [(journal, journal.head()) for journal in journals]
        files.fetch(journal.path(position) for journal, head in heads for position in {*head.complete.values()})


def _committed_manifest(address: str, published: bytes, committed: str) -> Manifest | None:
    """The committed manifest; None, with a log line, where the published copy at `address` is damaged."""
    try:
        manifest, copy = Manifest.model_validate_json(committed), Manifest.model_validate_json(published)
    except ValueError:
        log.warning("%s cannot be read: the stage is not complete", address)
        return None
    if copy.attempt != manifest.attempt:
        attempts = (address, copy.attempt, manifest.attempt)
        log.warning("%s is of attempt %s, but attempt %s was committed and is used", *attempts)
    elif published != committed.encode():
        log.warning("%s differs from the committed manifest: the stage is not complete", address)
        return None
    return manifest


def stage_order(name: str) -> tuple[int, str]:
    """A sort key: `2-...` before `10-...`, and names without a number last."""
    number = name.partition("-")[0]
    return (int(number) if number.isdigit() else 10**6, name)


def _checked_name(name: str) -> str:
    if not re.fullmatch(NAME, name):
        raise UserError(
            f"{name!r} cannot be a name in the store: use a-z, 0-9, '.', '_', '-', and begin with a letter or digit."
        )
    return name
