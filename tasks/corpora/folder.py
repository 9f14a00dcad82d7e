"""A folder of image files, with captions in `.txt` files beside them. Each folder below the root is a shard."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field

from tasks.corpora.decode import EXTENSIONS, DecodedSample, EncodedSample, Limits, decode_samples
from tasks.corpora.masks import Masks
from tasks.corpora.metadata import SIDECARS, read_json, sample_fields
from tasks.corpora.readback import missing_shard, verified
from tasks.corpora.sample import ListedShard, Location, Sample, Shard
from tasks.corpora.text import text_of_bytes
from tasks.records.picture import Picture
from tasks.settings.addresses import Address
from tasks.settings.base import Settings
from tasks.settings.errors import UserError, first_line, printable, some
from tasks.settings.fingerprint import NotFingerprinted, digest, file_sha256

if TYPE_CHECKING:
    from tasks.corpora.decode import Transform
    from tasks.corpora.protocol import Render

_THREADS = 8


class FolderCorpus(Settings):
    """A local folder of image files. Keys are `<folder>/<file name>`, because `a.jpg` and `a.png` may both be there."""

    kind: Literal["folder"] = "folder"
    path: Annotated[Address, NotFingerprinted]
    """The local folder."""
    prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._-]*$")
    """Put before the folders' names, and so before the keys."""
    limits: Limits = Limits()
    """Largest pictures that are decoded, and the share of failures at which a build stops."""
    masks: Masks = Masks()
    """Rules that exclude decoded pictures from the index."""

    @property
    def address(self) -> str:
        """The local folder."""
        return self.path

    def check(self) -> str:
        """Count the folders with pictures. UserError if there is none."""
        return f"{len(self.listing())} shards"

    def materialize(self, render: Render) -> Self:
        """The files exist already."""
        return self

    def listing(self) -> list[ListedShard]:
        """The folders that hold pictures, by name. UserError if there is none."""
        folders = sorted({file.parent for file in self._root.rglob("*") if _is_picture(file)})
        if not folders:
            raise UserError(f"no pictures in {self.path}: give a folder with {', '.join(sorted(EXTENSIONS))} files.")
        return sorted((_listed(self._name(folder), folder) for folder in folders), key=lambda listed: listed.name)

    def left_out(self) -> list[str]:
        """What lies in the folder and is not read, in words: other files, and folders behind links."""
        everything = sorted(self._root.rglob("*"))
        links = [str(path.relative_to(self._root)) for path in everything if path.is_symlink() and path.is_dir()]
        others = [
            str(path.relative_to(self._root))
            for path in everything
            if path.is_file() and not _is_picture(path) and path.suffix.lower().removeprefix(".") not in SIDECARS
        ]
        told = [f"{len(others)} files that are no pictures: {some(others)}"] if others else []
        return told + ([f"{len(links)} links to folders: {some(links)}"] if links else [])

    def shard(self, name: str) -> FolderShard:
        """A reader of one folder's pictures."""
        return FolderShard(name, self._folder(name), self.limits)

    def pictures(self, wanted: Sequence[Location]) -> list[Picture]:
        """The original bytes in the order of `wanted`. StaleShard if a file has changed since it was indexed."""
        with ThreadPoolExecutor(_THREADS) as pool:
            return list(pool.map(self._picture, wanted))

    def _picture(self, location: Location) -> Picture:
        try:
            data = (self._folder(location.shard) / location.member).read_bytes()
        except FileNotFoundError:
            raise missing_shard(location) from None
        return verified(location, b"", data)

    @property
    def _root(self) -> Path:
        return Path(self.path.removeprefix("file://")).expanduser().resolve()

    def _name(self, folder: Path) -> str:
        return self.prefix + folder.relative_to(self._root.parent).as_posix()

    def _folder(self, shard: str) -> Path:
        return self._root.parent / shard.removeprefix(self.prefix)


class FolderShard(AbstractContextManager["FolderShard"]):
    """The pictures of one folder, without those of its subfolders."""

    metadata_rows = (0, 0)

    def __init__(self, name: str, folder: Path, limits: Limits) -> None:
        self.name = name
        self.limits = limits
        self._folder = folder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was fetched."""

    def describe(self) -> Shard:
        """Name, size and version. The version covers the pictures' names and bytes and the metadata beside them."""
        files = _pictures(self._folder)
        contents = {printable(file.name): f"{file_sha256(file)} {_metadata(file)!r}" for file in files}
        size = sum(file.stat().st_size for file in files)
        return Shard(name=self.name, bytes=size, version=f"sha256:{digest(contents)}")

    def read(self, transform: Transform | None = None) -> Iterator[DecodedSample]:
        """The pictures by file name."""
        return decode_samples(map(self._encoded, _pictures(self._folder)), self.limits, transform)

    def _encoded(self, file: Path) -> EncodedSample:
        """The row of a file; a row with a reason where its name or its metadata cannot be used."""
        name = printable(file.name)
        place = {"key": f"{self.name}/{name}", "shard": self.name, "member": name, "offset": 0}
        if name != file.name:
            return EncodedSample(Sample(**place, reason="bad name: it has characters that cannot be printed"))
        try:
            size = file.stat().st_size
            sample = Sample(**_metadata(file) | place, size=size)
            return EncodedSample(sample, file.read_bytes() if size <= self.limits.max_bytes else None)
        except Exception as error:
            return EncodedSample(Sample(**place, reason=f"broken: {first_line(error)[:120]}"))


def _is_picture(file: Path) -> bool:
    return file.suffix.lower().removeprefix(".") in EXTENSIONS and file.is_file()


def _pictures(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if _is_picture(file))


def _metadata(file: Path) -> dict[str, object]:
    """The fields of a `Sample` that the `.json` and the `.txt` beside a picture give."""
    facts, caption = file.with_suffix(".json"), file.with_suffix(".txt")
    fields = sample_fields(read_json(facts.read_bytes())) if facts.is_file() else {}
    if caption.is_file():
        fields["caption"] = text_of_bytes(caption.read_bytes())
    return fields


def _listed(name: str, folder: Path) -> ListedShard:
    """A folder as listed. The stamp covers names, sizes and modification times of all files that would be read."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in (".txt", ".json") or _is_picture(file))
    stamp, size = hashlib.sha256(), 0
    for file in files:
        status = file.stat()
        stamp.update(f"{printable(file.name)} {status.st_size} {status.st_mtime_ns} {status.st_ino}\n".encode())
        size += status.st_size
    return ListedShard(name=name, bytes=size, stamp=f"seen:{stamp.hexdigest()}")
