"""Loose image files, captions in `.txt` files beside them. Each folder below the root counts as a shard."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict

from tasks.corpora.decode import EXTENSIONS, Limits, Read, examine
from tasks.corpora.sample import Sample, Shard, StaleShard
from tasks.errors import UserError
from tasks.identity import Execution
from tasks.prompt import Picture


class Folder(BaseModel):
    """A local folder of image files. Keys are `<folder>/<file name>`, because `a.jpg` and `a.png` may both be there."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["folder"] = "folder"
    path: Annotated[str, Execution]
    """The local folder."""
    limits: Limits = Limits()
    """What is decoded at all."""

    def listing(self) -> list[Shard]:
        """The folders that hold pictures, by name. UserError where there is none."""
        folders = sorted({file.parent for file in self._root.rglob("*") if _is_picture(file)})
        if not folders:
            raise UserError(f"no pictures in {self.path}: give a folder with {', '.join(sorted(EXTENSIONS))} files.")
        return [_shard(self._name(folder), folder) for folder in folders]

    def read(self, shard: str) -> Iterator[Read]:
        """The pictures of one folder by file name."""
        for file in _files(self._folder(shard)):
            size = file.stat().st_size
            sample = Sample(
                key=f"{shard}/{file.name}", shard=shard, member=file.name, offset=0, size=size, caption=_caption(file)
            )
            yield examine(sample, file.read_bytes() if size <= self.limits.max_bytes else None, self.limits)

    def pictures(self, samples: Sequence[Sample]) -> list[Picture]:
        """The original bytes of served samples, in order. StaleShard where a file has changed since it was indexed."""
        return [self._picture(sample) for sample in samples]

    def _picture(self, sample: Sample) -> Picture:
        file = self._folder(sample.shard) / (sample.member or "")
        data = file.read_bytes() if file.is_file() else b""
        if hashlib.sha256(data).hexdigest() != sample.sha256:
            raise StaleShard(f"{file} is gone or has changed since it was indexed: build the corpus again.")
        return Picture(sample.key, data)

    @property
    def _root(self) -> Path:
        return Path(self.path.removeprefix("file://")).expanduser().resolve()

    def _name(self, folder: Path) -> str:
        return folder.relative_to(self._root.parent).as_posix()

    def _folder(self, shard: str) -> Path:
        return self._root.parent / shard


def _is_picture(file: Path) -> bool:
    return file.suffix.lower().removeprefix(".") in EXTENSIONS and file.is_file()


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if _is_picture(file))


def _caption(file: Path) -> str | None:
    text = file.with_suffix(".txt")
    return text.read_text("utf-8", "replace").strip() if text.is_file() else None


def _shard(name: str, folder: Path) -> Shard:
    """Its version covers the pictures' names and bytes and the captions."""
    digest, size = hashlib.sha256(), 0
    for file in _files(folder):
        data, caption = file.read_bytes(), _caption(file)
        digest.update(f"{file.name} {hashlib.sha256(data).hexdigest()} {caption!r}\n".encode())
        size += len(data)
    return Shard(name=name, bytes=size, version=f"sha256:{digest.hexdigest()}")
