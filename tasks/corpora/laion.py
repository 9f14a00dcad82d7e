"""Shards as img2dataset and DataComp write them: `00012.tar`, perhaps with `00012.parquet` and `00012_stats.json`.

A tar is fetched once, from any fsspec URL, and read in one stream. Its parquet also lists what could not be downloaded,
and in another order, so the two are joined on the key. Pictures are read back by byte range at the offset that the
stream found. No URL in the metadata is ever fetched.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field

from tasks.corpora.decode import EXTENSIONS, Limits, Raw, Read, begins_like_a_picture, examine_all
from tasks.corpora.masks import Masks
from tasks.corpora.metadata import DamagedMetadata, Facts, columns, failure, read_json, read_parquet
from tasks.corpora.readback import from_disk, from_store, gone
from tasks.corpora.sample import Listed, Location, Sample, Shard
from tasks.corpora.tar import DamagedShard, Member, members
from tasks.records.prompt import Picture
from tasks.settings.addresses import Address
from tasks.settings.base import Settings
from tasks.settings.errors import UserError
from tasks.settings.fingerprint import NotFingerprinted, digest, file_sha256
from tasks.store.faults import persistently
from tasks.store.files import open_filesystem

if TYPE_CHECKING:
    from tasks.corpora.decode import Prepare

TAR, PARQUET, STATS = ".tar", ".parquet", "_stats.json"
_SIGNS = (("ETag",), ("etag",), ("md5Hash",), ("mtime", "ino", "created"), ("created",))


class LaionCorpus(Settings):
    """webdataset tar shards with their metadata."""

    kind: Literal["laion"] = "laion"
    shards: Annotated[Address, NotFingerprinted]
    """Folder or glob of the `.tar` files: a path or any fsspec URL (`s3://bucket/laion`, `data/0*.tar`). What is in the
    shards counts, not where they lie."""
    prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._-]*$")
    """Put before the shards' names, and so before keys: sets that are joined have a `00000.tar` each."""
    limits: Limits = Limits()
    """What is decoded at all."""
    masks: Masks = Masks()
    """What of that is used."""

    def listing(self) -> list[Listed]:
        """The shards by name. UserError where there is none, or where two would give the same keys."""
        files = persistently(f"listing {self.shards}", self._files)
        tars = sorted((path for path in files if path.endswith(TAR)), key=lambda path: (_stem(path), path))
        if not tars:
            raise UserError(persistently(f"listing {self.shards}", self._nothing))
        for one, other in pairwise(tars):
            if _stem(one) == _stem(other):
                raise UserError(f"{one} and {other} have one name, so their keys would clash: rename one of them.")
        return [self._listed(path, files) for path in tars]

    def shard(self, name: str) -> TarShard:
        """A shard to be read. Nothing is fetched before it has to be."""
        fs, _ = open_filesystem(self.shards)
        return TarShard(name, fs, self._path(name), self.limits)

    def pictures(self, wanted: Sequence[Location]) -> list[Picture]:
        """The original bytes, in order, by byte range. StaleShard where they are not there any more."""
        fs, _ = open_filesystem(self.shards)
        first = {one.shard: one for one in reversed(wanted)}
        try:
            paths = {shard: self._path(shard) for shard in first}
        except KeyError as missing:
            raise gone(first[missing.args[0]]) from None
        if _is_local(fs):
            return from_disk({shard: Path(path) for shard, path in paths.items()}, wanted)
        return from_store(fs, paths, wanted)

    def _listed(self, path: str, files: Mapping[str, Mapping[str, Any]]) -> Listed:
        stem = path.removesuffix(TAR)
        beside = [files[other] for other in (path, stem + PARQUET, stem + STATS) if other in files]
        name = f"{self.prefix}{_stem(path)}"
        return Listed(name=name, bytes=files[path]["size"], stamp=" ".join(map(_stamp, beside)))

    def _files(self) -> dict[str, Mapping[str, Any]]:
        """All files of the shards by path, from one listing."""
        fs, root = open_filesystem(self.shards)
        fs.invalidate_cache()
        try:
            if root.endswith(TAR):
                found = list(fs.glob(f"{root.removesuffix(TAR).rstrip('*')}*", detail=True).values())
            else:
                found = fs.ls(root, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return {str(info["name"]): info for info in found if info["type"] == "file"}

    def _nothing(self) -> str:
        """Why there is no shard, and what to give instead."""
        fs, root = open_filesystem(self.shards)
        if root.endswith(TAR):
            return f"no .tar shards are {self.shards}: give the folder that img2dataset wrote, or another glob."
        if not fs.exists(root):
            return f"there is no folder {self.shards}: give one of .tar shards, or one of pictures."
        if fs.isdir(root) and not fs.ls(root):
            return f"the folder {self.shards} is empty: give one of .tar shards, or one of pictures."
        kinds = ", ".join(sorted(EXTENSIONS))
        return f"{self.shards} holds neither .tar shards, as img2dataset writes them, nor pictures ({kinds})."

    def _path(self, shard: str) -> str:
        """KeyError where a glob leads to no shard of that name."""
        _, root = open_filesystem(self.shards)
        if root.endswith(TAR):
            return self._globbed[shard]
        return f"{root.rstrip('/')}/{shard.removeprefix(self.prefix)}{TAR}"

    @cached_property
    def _globbed(self) -> dict[str, str]:
        return {f"{self.prefix}{_stem(path)}": path for path in self._files() if path.endswith(TAR)}


class TarShard:
    """One shard. Files of an object store are fetched whole at their first use, and removed at the end of the block."""

    def __init__(self, name: str, fs: Any, path: str, limits: Limits) -> None:
        self.name = name
        self.limits = limits
        self._fs, self._path = fs, path
        self._copies: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._copies:
            self._copies.cleanup()

    def describe(self) -> Shard:
        """What it is, by its contents."""
        files = [self._tar, self._parquet]
        contents = {file.suffix: file_sha256(file) for file in files if file}
        version = digest(contents | {"unfinished": self._unfinished})
        return Shard(name=self.name, bytes=self._tar.stat().st_size, version=f"sha256:{version}")

    def read(self, prepare: Prepare | None = None) -> Iterator[Read]:
        """Every picture in the order of the tar, then what only its metadata lists (failed downloads).

        A damaged tar gives what comes before the damage; a row with the key `<shard>/` names it.
        """
        return examine_all(self._raws(), self.limits, prepare)

    def _raws(self) -> Iterator[Raw]:
        if self._unfinished:
            reason = "unfinished: img2dataset writes _stats.json last, and there is none"
            yield Raw(Sample(key=f"{self.name}/", shard=self.name, reason=reason))
        try:
            facts = read_parquet(self._parquet) if self._parquet else {}
        except DamagedMetadata as damage:
            facts = {}
            yield Raw(Sample(key=f"{self.name}/", shard=self.name, reason=f"damaged metadata: {damage}"))
        seen: set[str] = set()
        with self._tar.open("rb") as stream:
            try:
                for key, group in _groups(members(stream, self.limits.max_bytes)):
                    yield from _rows(self.name, key, group, facts.get(key, {}), key in seen)
                    seen.add(key)
            except DamagedShard as damage:
                yield Raw(Sample(key=f"{self.name}/", shard=self.name, reason=f"damaged shard: {damage}"))
        for key in facts:
            if key not in seen:
                yield Raw(_absent(self.name, key, facts[key]))

    @cached_property
    def _unfinished(self) -> bool:
        return self._parquet is not None and not self._fs.exists(self._path.removesuffix(TAR) + STATS)

    @cached_property
    def _tar(self) -> Path:
        return self._here(self._path)

    @cached_property
    def _parquet(self) -> Path | None:
        path = self._path.removesuffix(TAR) + PARQUET
        return self._here(path) if self._fs.exists(path) else None

    def _here(self, path: str) -> Path:
        if _is_local(self._fs):
            return Path(path)
        if self._copies is None:
            self._copies = tempfile.TemporaryDirectory(prefix="shard-")
        local = Path(self._copies.name) / f"shard{PurePosixPath(path).suffix}"
        persistently(f"fetching {path}", lambda: self._fs.get_file(path, str(local)))
        return local


def _rows(shard: str, key: str, group: list[Member], facts: Facts, repeated: bool) -> Iterator[Raw]:
    """The pictures among the members of one key: the first is the sample, any other has the key of another."""
    known = columns(_told(group) | dict(facts)) | {"key": f"{shard}/{key}", "shard": shard}
    found = _pictures(group)
    if not found:
        kinds = ", ".join(sorted({_kind(member) for member in group}))
        yield Raw(Sample(**known, reason=f"broken: no picture, only {kinds}"))
    for number, member in enumerate(found):
        sample = Sample(**known, member=member.name, offset=member.offset, size=member.size)
        reason = _objection(member, repeated or bool(number))
        yield Raw(sample.model_copy(update={"reason": reason}) if reason else sample, member.data, member.header)


def _objection(member: Member, repeated: bool) -> str | None:
    """What there is against a picture before it is looked at."""
    if member.name.startswith("/") or ".." in PurePosixPath(member.name).parts:
        return "bad name: it leads out of the shard"
    return "duplicate key: an earlier picture has it" if repeated else None


def _pictures(group: Iterable[Member]) -> list[Member]:
    """Members that are named like pictures, else those that begin like one."""
    files = [member for member in group if member.regular]
    named = [member for member in files if _extension(member) in EXTENSIONS]
    return named or [member for member in files if begins_like_a_picture(member.data)]


def _told(group: Iterable[Member]) -> dict[str, Any]:
    """Facts from the members beside the picture: `.json`, and `.txt` as the caption."""
    found: dict[str, Any] = {}
    for member in group:
        if _extension(member) == "json" and member.data:
            found = {**read_json(member.data), **found}
        elif _extension(member) == "txt" and member.data and not begins_like_a_picture(member.data):
            found["caption"] = member.data.decode("utf-8", "replace")
    return found


def _absent(shard: str, key: str, facts: Facts) -> Sample:
    """The row of a picture that is in the metadata alone, normally because its download failed."""
    reason = f"failed: {failure(facts) or 'not in the shard'}"
    return Sample(**columns(facts), key=f"{shard}/{key}", shard=shard, reason=reason)


def _groups(stream: Iterator[Member]) -> Iterator[tuple[str, list[Member]]]:
    """Neighbouring members of one key. A group that damage cuts short comes before the DamagedShard."""
    group: list[Member] = []
    try:
        for member in stream:
            if group and _sample_key(member) != _sample_key(group[0]):
                yield _sample_key(group[0]), group
                group = []
            group.append(member)
    except DamagedShard:
        if group:
            yield _sample_key(group[0]), group
        raise
    if group:
        yield _sample_key(group[0]), group


def _sample_key(member: Member) -> str:
    """webdataset's rule: the path up to the first dot of the file name."""
    folder, _, name = member.name.rpartition("/")
    stem = name.partition(".")[0]
    return f"{folder}/{stem}" if folder else stem


def _extension(member: Member) -> str:
    return member.name.rpartition("/")[2].rpartition(".")[2].lower() if "." in member.name else ""


def _kind(member: Member) -> str:
    return (_extension(member) or "no extension") if member.regular else "a link or device"


def _is_local(fs: Any) -> bool:
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(fs, LocalFileSystem)


def _stem(path: str) -> str:
    return PurePosixPath(path).name.removesuffix(TAR)


def _stamp(info: Mapping[str, Any]) -> str:
    """Size, with what else changes when a file does; never the same where a file system knows nothing of the kind."""
    known = next((names for names in _SIGNS if all(info.get(name) for name in names)), ())
    signs = [str(info[name]) for name in known] or [secrets.token_hex(8)]
    return ":".join([str(info["size"]), *signs])
