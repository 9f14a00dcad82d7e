"""Loose image files, captions in `.txt` files beside them. Each folder below the root counts as a shard."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field

from tasks.corpora.decode import EXTENSIONS, Limits, Raw, Read, examine_all
from tasks.corpora.masks import Masks
from tasks.corpora.metadata import columns, read_json
from tasks.corpora.readback import gone, verified
from tasks.corpora.sample import Listed, Location, Sample, Shard
from tasks.records.prompt import Picture
from tasks.settings.addresses import Address
from tasks.settings.base import Settings
from tasks.settings.errors import UserError
from tasks.settings.fingerprint import NotFingerprinted, digest, file_sha256

if TYPE_CHECKING:
    from tasks.corpora.decode import Prepare

_THREADS = 8


class FolderCorpus(Settings):
    """A local folder of image files. Keys are `<folder>/<file name>`, because `a.jpg` and `a.png` may both be there."""

    kind: Literal["folder"] = "folder"
    path: Annotated[Address, NotFingerprinted]
    """The local folder."""
    prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._-]*$")
    """Put before the folders' names, and so before keys."""
    limits: Limits = Limits()
    """What is decoded at all."""
    masks: Masks = Masks()
    """What of that is used."""

    def listing(self) -> list[Listed]:
        """The folders that hold pictures, by name. UserError where there is none."""
        folders = sorted({file.parent for file in self._root.rglob("*") if _is_picture(file)})
        if not folders:
            raise UserError(f"no pictures in {self.path}: give a folder with {', '.join(sorted(EXTENSIONS))} files.")
        return sorted((_listed(self._name(folder), folder) for folder in folders), key=lambda listed: listed.name)

    def shard(self, name: str) -> FolderShard:
        """A folder to be read."""
        return FolderShard(name, self._folder(name), self.limits)

    def pictures(self, wanted: Sequence[Location]) -> list[Picture]:
        """The original bytes, in order. StaleShard where a file has changed since it was indexed."""
        with ThreadPoolExecutor(_THREADS) as pool:
            return list(pool.map(self._picture, wanted))

    def _picture(self, location: Location) -> Picture:
        try:
            data = (self._folder(location.shard) / location.member).read_bytes()
        except FileNotFoundError:
            raise gone(location) from None
        return verified(location, b"", data)

    @property
    def _root(self) -> Path:
        return Path(self.path.removeprefix("file://")).expanduser().resolve()

    def _name(self, folder: Path) -> str:
        return self.prefix + folder.relative_to(self._root.parent).as_posix()

    def _folder(self, shard: str) -> Path:
        return self._root.parent / shard.removeprefix(self.prefix)


class FolderShard(AbstractContextManager["FolderShard"]):
    """The pictures of one folder, without those of the folders in it."""

    def __init__(self, name: str, folder: Path, limits: Limits) -> None:
        self.name = name
        self.limits = limits
        self._folder = folder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was fetched."""

    def describe(self) -> Shard:
        """What it is, by the pictures' names and bytes and what is said of them."""
        files = _pictures(self._folder)
        contents = {file.name: f"{file_sha256(file)} {_told(file)!r}" for file in files}
        size = sum(file.stat().st_size for file in files)
        return Shard(name=self.name, bytes=size, version=f"sha256:{digest(contents)}")

    def read(self, prepare: Prepare | None = None) -> Iterator[Read]:
        """The pictures by file name."""
        return examine_all(map(self._raw, _pictures(self._folder)), self.limits, prepare)

    def _raw(self, file: Path) -> Raw:
        size, told = file.stat().st_size, _told(file)
        place = {"key": f"{self.name}/{file.name}", "shard": self.name, "member": file.name, "offset": 0, "size": size}
        return Raw(Sample(**told | place), file.read_bytes() if size <= self.limits.max_bytes else None)


def _is_picture(file: Path) -> bool:
    return file.suffix.lower().removeprefix(".") in EXTENSIONS and file.is_file()


def _pictures(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if _is_picture(file))


def _told(file: Path) -> dict[str, object]:
    """What the `.json` and the `.txt` beside a picture say of it."""
    facts, words = file.with_suffix(".json"), file.with_suffix(".txt")
    told = columns(read_json(facts.read_bytes())) if facts.is_file() else {}
    return told | ({"caption": words.read_text("utf-8", "replace").strip()} if words.is_file() else {})


def _listed(name: str, folder: Path) -> Listed:
    """Its stamp covers names, sizes and times of change of all that may be read."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in (".txt", ".json") or _is_picture(file))
    seen, size = hashlib.sha256(), 0
    for file in files:
        status = file.stat()
        seen.update(f"{file.name} {status.st_size} {status.st_mtime_ns} {status.st_ino}\n".encode())
        size += status.st_size
    return Listed(name=name, bytes=size, stamp=f"seen:{seen.hexdigest()}")
