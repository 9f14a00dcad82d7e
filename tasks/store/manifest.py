"""The manifest of a complete stage: its files, and everything that was fingerprinted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from importlib import metadata
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, AliasChoices, ConfigDict, Field, JsonValue, computed_field

from tasks.settings.base import Frozen
from tasks.settings.fingerprint import digest

MANIFEST = "manifest.json"
SOFTWARE = (
    "active-zero torch transformers trl peft vllm open-clip-torch faiss-cpu faiss-gpu prefect pyarrow numpy pillow"
).split()
ARTIFACT = "artifact:"


def _inside(path: str) -> str:
    """A manifest is untrusted: no name in it may lead out of the artifact's folder, in the store or in the cache."""
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise ValueError(f"{path!r} leads out of the artifact")
    return path


Inside = Annotated[str, AfterValidator(_inside)]


class StoredFile(Frozen):
    """One file of an artifact."""

    model_config = ConfigDict(extra="ignore")

    name: Inside
    """Its name in the artifact: `part-00000.parquet`, `adapter/adapter_config.json`."""
    path: Inside
    """Its path relative to the manifest, which contains the attempt's id."""
    size: int
    sha256: str
    etag: str | None = None
    """The object's ETag when these bytes were verified; None on a disk."""


class Manifest(Frozen):
    """What a complete stage made, and from what. Fields that a later version adds are ignored."""

    model_config = ConfigDict(extra="ignore")

    stage: str
    version: int
    fingerprint: str
    """sha256 of `fingerprinted`."""
    fingerprinted: dict[str, JsonValue] = Field(validation_alias=AliasChoices("fingerprinted", "identity"))
    """Settings, inputs, stage version and columns; not where or how fast the stage ran.
    Versions before 0.2 call it `identity`."""
    row_type: str
    rows: int
    counters: dict[str, int]
    files: tuple[StoredFile, ...]
    attempt: str
    software: dict[str, str]
    seconds: float
    created: datetime
    """UTC."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def inputs(self) -> dict[str, str]:
        """Fingerprints of the input artifacts, by their dotted name in `fingerprinted`: `team.solver`."""
        return {name: text.partition("@")[0] for name, text in self.input_digests.items()}

    @property
    def input_digests(self) -> dict[str, str]:
        """The same with the digests of the inputs' contents: `<fingerprint>@<contents>`."""
        return {name: text.removeprefix(ARTIFACT) for name, text in artifacts_in(self.fingerprinted)}

    @property
    def contents(self) -> str:
        """Digest of the files' names and sha256: equal for artifacts with equal contents, wherever they are."""
        return digest({file.name: file.sha256 for file in self.files})


@cache
def software() -> dict[str, str]:
    """Installed versions of the packages that decide the results."""
    installed = {name: _version(name) for name in SOFTWARE}
    return {name: version for name, version in installed.items() if version is not None}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def artifacts_in(value: JsonValue, name: str = "") -> Iterator[tuple[str, str]]:
    """Every artifact in a fingerprinted value, with its dotted name."""
    match value:
        case str() if value.startswith(ARTIFACT):
            yield name, value
        case Mapping():
            for key, item in value.items():
                yield from artifacts_in(item, f"{name}.{key}" if name else key)
        case list():
            for position, item in enumerate(value):
                yield from artifacts_in(item, f"{name}[{position}]")
