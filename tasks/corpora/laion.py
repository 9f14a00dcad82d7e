"""Tar shards of img2dataset and DataComp: `00012.tar`, often with `00012.parquet` and `00012_stats.json`.

A tar is fetched once, from any fsspec URL, and read in one stream. Its Parquet file also lists failed downloads, and in
another order, so the two are joined on the key. Pictures are read back by byte range at the offsets that the stream
found. No URL in the metadata is ever fetched.
"""

from __future__ import annotations

import glob
import secrets
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field

from tasks.corpora.decode import (
    EXTENSIONS,
    DecodedSample,
    EncodedSample,
    Limits,
    decode_samples,
    has_picture_signature,
)
from tasks.corpora.masks import Masks
from tasks.corpora.metadata import (
    SIDECARS,
    DamagedMetadata,
    Facts,
    ShardMetadata,
    download_failure,
    read_json,
    read_parquet,
    sample_fields,
)
from tasks.corpora.readback import from_disk, from_store, missing_shard
from tasks.corpora.sample import ListedShard, Location, Sample, Shard
from tasks.corpora.tar import DamagedShard, Member, members
from tasks.corpora.text import text_of_bytes
from tasks.records.picture import Picture
from tasks.settings.addresses import Address
from tasks.settings.base import Settings
from tasks.settings.errors import UserError, first_line, printable, some
from tasks.settings.fingerprint import NotFingerprinted, digest, file_sha256
from tasks.store.faults import with_retries
from tasks.store.files import open_filesystem

if TYPE_CHECKING:
    from tasks.corpora.decode import Transform
    from tasks.corpora.protocol import Render

MOST_SIDECAR_BYTES = 256 << 20
"""Most bytes of captions and metadata that are kept for pictures that do not lie beside them."""
TAR, PARQUET, STATS = ".tar", ".parquet", "_stats.json"
_STAMP_FIELDS = (("ETag",), ("etag",), ("md5Hash",), ("mtime", "ino", "created"), ("created",))
"""Fields of fsspec's file information that change with a file, by file system; the first complete group is used."""


class LaionCorpus(Settings):
    """Tar shards in webdataset's layout, with their metadata."""

    kind: Literal["laion"] = "laion"
    shards: Annotated[Address, NotFingerprinted]
    """Folder or glob of the `.tar` files: a path or any fsspec URL (`s3://bucket/laion`, `data/0*.tar`). The contents
    of the shards enter fingerprints, their address does not."""
    prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._-]*$")
    """Put before the shards' names, and so before the keys: two data sets that are joined both have a `00000.tar`."""
    limits: Limits = Limits()
    """Largest pictures that are decoded, and the share of failures at which a build stops."""
    masks: Masks = Masks()
    """Rules that exclude decoded pictures from the index."""

    @property
    def address(self) -> str:
        """Folder or glob of the shards."""
        return self.shards

    def check(self) -> str:
        """Count the shards. UserError if there is none."""
        return f"{len(self.listing())} shards"

    def materialize(self, render: Render) -> Self:
        """The shards exist already."""
        return self

    def listing(self) -> list[ListedShard]:
        """The shards by name. UserError if there is none, or if two of them would give the same keys."""
        files = with_retries(f"listing {self.shards}", self._files)
        tars = sorted((path for path in files if path.endswith(TAR)), key=lambda path: (_stem(path), path))
        if not tars:
            raise UserError(with_retries(f"listing {self.shards}", self._why_none))
        for path, following in pairwise(tars):
            if _stem(path) == _stem(following):
                raise UserError(
                    f"{path} and {following} have the same name, so their keys would clash: rename one of them."
                )
        return [self._listed(path, files) for path in tars]

    def left_out(self) -> list[str]:
        """What lies beside the shards and is not read, in words. Empty for a glob, which names what is wanted."""
        fs, root = open_filesystem(self.shards)
        if root.endswith(TAR):
            return []
        other = [info for info in fs.ls(root, detail=True) if not _is_read(info)]
        folders = [_name(info) for info in other if info["type"] == "directory"]
        files = [_name(info) for info in other if info["type"] != "directory"]
        told = [f"{len(files)} files that are no .tar shards: {some(files)}"] if files else []
        return told + ([f"{len(folders)} folders below it: {some(folders)}"] if folders else [])

    def shard(self, name: str) -> TarShard:
        """A reader of one shard. Files are fetched at their first use."""
        fs, _ = open_filesystem(self.shards)
        return TarShard(name, fs, self._path(name), self.limits)

    def pictures(self, wanted: Sequence[Location]) -> list[Picture]:
        """The original bytes in the order of `wanted`, by byte range. StaleShard if a shard is missing or changed."""
        fs, _ = open_filesystem(self.shards)
        first = {location.shard: location for location in reversed(wanted)}
        try:
            paths = {shard: self._path(shard) for shard in first}
        except KeyError as missing:
            raise missing_shard(first[missing.args[0]]) from None
        if _is_local(fs):
            return from_disk({shard: Path(path) for shard, path in paths.items()}, wanted)
        return from_store(fs, paths, wanted)

    def _listed(self, path: str, files: Mapping[str, Mapping[str, Any]]) -> ListedShard:
        stem = path.removesuffix(TAR)
        beside = [files[other] for other in (path, stem + PARQUET, stem + STATS) if other in files]
        name = f"{self.prefix}{_stem(path)}"
        size = files[path]["size"]
        if size is None:  # a web server's listing has none
            size = open_filesystem(self.shards)[0].size(path) or 0
        return ListedShard(name=name, bytes=size, stamp=" ".join(map(_stamp, beside)))

    def _files(self) -> dict[str, Mapping[str, Any]]:
        """The shards and the files beside them: fsspec's file information by path, from one listing."""
        fs, root = open_filesystem(self.shards)
        fs.invalidate_cache()
        try:
            if not root.endswith(TAR):
                files = fs.ls(root, detail=True)
            elif fs.exists(root):  # a name may hold brackets, which a pattern would read
                stem = root.removesuffix(TAR)
                files = [fs.info(path) for path in (root, stem + PARQUET, stem + STATS) if fs.exists(path)]
            else:
                tars = fs.glob(_pattern(fs, root), detail=True)
                beside = fs.glob(f"{_pattern(fs, root).removesuffix(TAR).rstrip('*')}*", detail=True)
                files = [*tars.values(), *(info for path, info in beside.items() if not path.endswith(TAR))]
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return {str(info["name"]): info for info in files if info["type"] == "file"}

    def _why_none(self) -> str:
        """Why no shard was found, and which address to give instead."""
        fs, root = open_filesystem(self.shards)
        if root.endswith(TAR):
            return f"no .tar file matches {self.shards}: give the folder that img2dataset wrote, or another glob."
        if not fs.exists(root):
            return f"there is no folder {self.shards}: give a folder of .tar shards, or of pictures."
        if fs.isdir(root) and not fs.ls(root):
            return f"the folder {self.shards} is empty: give a folder of .tar shards, or of pictures."
        names = [_name(info) for info in fs.ls(root, detail=True)]
        if any(name.rpartition(".")[2].lower() in EXTENSIONS for name in names):
            return (
                f"{self.shards} holds loose pictures, which are read from a local folder only:"
                " copy them here, or pack them into .tar shards."
            )
        if inside := [name for name in names if fs.glob(f"{root.rstrip('/')}/{name}/*{TAR}")]:
            return f"the shards are in folders of {self.shards}: build from one ({some(inside)}) and add the others."
        if packed := [name for name in names if name.lower().endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.zst"))]:
            return f"{self.shards} holds compressed tars ({some(packed)}): decompress them first."
        kinds = ", ".join(sorted(EXTENSIONS))
        return f"{self.shards} holds neither .tar shards, as img2dataset writes them, nor pictures ({kinds})."

    def _path(self, shard: str) -> str:
        """Path of the shard's tar. KeyError if the shards are given by a glob that matches no such file."""
        _, root = open_filesystem(self.shards)
        if root.endswith(TAR):
            return self._glob_paths[shard]
        return f"{root.rstrip('/')}/{shard.removeprefix(self.prefix)}{TAR}"

    @cached_property
    def _glob_paths(self) -> dict[str, str]:
        return {f"{self.prefix}{_stem(path)}": path for path in self._files() if path.endswith(TAR)}


class TarShard:
    """Reads one shard. Files of an object store are fetched at their first use and removed when the block ends."""

    def __init__(self, name: str, fs: Any, path: str, limits: Limits) -> None:
        self.name = name
        self.limits = limits
        self._fs, self._path = fs, path
        self._copies: tempfile.TemporaryDirectory[str] | None = None
        self.pictures = 0
        self.metadata_rows = (0, 0)
        """Rows of the metadata that joined a picture, and all of them; known when the shard was read."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._copies:
            self._copies.cleanup()

    def describe(self) -> Shard:
        """Name, size and version. The version covers tar and Parquet, and whether the shard is unfinished."""
        files = [self._tar, self._parquet]
        contents = {file.suffix: file_sha256(file) for file in files if file}
        version = digest(contents | {"unfinished": self._unfinished})
        return Shard(name=self.name, bytes=self._tar.stat().st_size, version=f"sha256:{version}")

    def read(self, transform: Transform | None = None) -> Iterator[DecodedSample]:
        """Every picture in the order of the tar, then the rows that only the metadata has (failed downloads).

        A damaged tar gives the pictures before the damage; a row with the key `<shard>/` says what is damaged.
        """
        return decode_samples(self._encoded(), self.limits, transform)

    def _encoded(self) -> Iterator[EncodedSample]:
        """The rows of the shard; whatever reading it raises becomes its row."""
        try:
            yield from self._rows()
        except (UserError, OSError):
            raise  # of the store, not of the shard
        except Exception as error:
            yield self._quarantined(f"damaged shard: {type(error).__name__}: {first_line(error)[:120]}")

    def _rows(self) -> Iterator[EncodedSample]:
        if self._unfinished:
            yield self._quarantined("unfinished: img2dataset writes _stats.json last, and there is none")
        metadata, unrated = ShardMetadata(), False
        try:
            metadata = ShardMetadata(read_parquet(self._parquet) if self._parquet else None)
            unrated = metadata.rates_safety
        except DamagedMetadata as damage:
            unrated = damage.rates_safety
            yield self._quarantined(f"damaged metadata: {damage}")
        try:
            yield from self._joined(metadata, unrated)
        except DamagedShard as damage:
            yield self._quarantined(f"damaged shard: {damage}")
        if metadata.joined or self.pictures:
            mismatch = metadata.mismatch()
            if mismatch:
                yield self._quarantined(f"damaged metadata: {mismatch}")
        self.metadata_rows = (len(metadata.joined), len(metadata.rows))
        for key, facts in metadata.left.items():
            yield EncodedSample(_absent(self.name, printable(key), facts))

    def _joined(self, metadata: ShardMetadata, unrated: bool) -> Iterator[EncodedSample]:
        """The pictures with their metadata."""
        strays = self._strays()
        seen: set[str] = set()
        with self._tar.open("rb") as stream:
            for key, group in _groups(members(stream, self.limits.max_bytes)):
                if key in strays and _is_sidecar_group(group):
                    continue
                facts = metadata.take(key)
                known = {"unrated": unrated and facts is None}
                for row in _rows_of(self.name, key, [*group, *strays.get(key, [])], facts or {}, known, key in seen):
                    self.pictures += row.data is not None
                    yield row
                seen.add(key)

    def _strays(self) -> dict[str, list[Member]]:
        """Captions and metadata that do not lie beside their picture, by key, from one pass over the headers."""
        strays: dict[str, list[Member]] = defaultdict(list)
        with_picture: set[str] = set()
        size = 0
        with self._tar.open("rb") as stream, suppress(DamagedShard):  # the damage is told by the next pass
            for key, group in _groups(members(stream, MOST_SIDECAR_BYTES, _is_sidecar)):
                if not _is_sidecar_group(group):
                    with_picture.add(key)
                    continue
                size += sum(member.size for member in group)
                if size > MOST_SIDECAR_BYTES:
                    return {}
                strays[key] += group
        return {key: group for key, group in strays.items() if key in with_picture}

    def _quarantined(self, reason: str) -> EncodedSample:
        """A row with a reason for the whole shard."""
        return EncodedSample(Sample(key=f"{self.name}/", shard=self.name, reason=reason))

    @cached_property
    def _unfinished(self) -> bool:
        return self._parquet is not None and not self._fs.exists(self._path.removesuffix(TAR) + STATS)

    @cached_property
    def _tar(self) -> Path:
        return self._local(self._path)

    @cached_property
    def _parquet(self) -> Path | None:
        path = self._path.removesuffix(TAR) + PARQUET
        return self._local(path) if self._fs.exists(path) else None

    def _local(self, path: str) -> Path:
        """The file on this machine: fetched into a temporary folder if it lies in an object store."""
        if _is_local(self._fs):
            return Path(path)
        if self._copies is None:
            self._copies = tempfile.TemporaryDirectory(prefix="shard-")
        local = Path(self._copies.name) / f"shard{PurePosixPath(path).suffix}"
        with_retries(f"fetching {path}", lambda: self._fs.get_file(path, str(local)))
        return local


def _rows_of(
    shard: str, key: str, group: list[Member], facts: Facts, known: dict[str, bool], repeated: bool
) -> list[EncodedSample]:
    """The rows of one key; a row with a reason where its metadata or names raise anything."""
    try:
        return list(_rows(shard, key, group, facts, known, repeated))
    except Exception as error:
        sample = Sample(key=f"{shard}/{printable(key)}", shard=shard, reason=f"broken: {first_line(error)[:120]}")
        return [EncodedSample(sample)]


def _rows(
    shard: str, key: str, group: list[Member], facts: Facts, known: dict[str, bool], repeated: bool
) -> Iterator[EncodedSample]:
    """A row for each picture of one key. The first picture has the key; the others get the reason `duplicate key`."""
    fields = (
        sample_fields(_metadata(group) | dict(facts)) | {"key": f"{shard}/{printable(key)}", "shard": shard} | known
    )
    pictures = _pictures(group)
    if not pictures:
        kinds = ", ".join(sorted({_kind(member) for member in group}))
        yield EncodedSample(Sample(**fields, reason=f"broken: no picture, only {kinds}"))
    for number, member in enumerate(pictures):
        sample = Sample(**fields, member=printable(member.name), offset=member.offset, size=member.size)
        reason = _objection(member, repeated or bool(number))
        yield EncodedSample(
            sample.model_copy(update={"reason": reason}) if reason else sample, member.data, member.header
        )


def _objection(member: Member, repeated: bool) -> str | None:
    """The reason against a picture that its name or key gives, before it is decoded."""
    if member.name.startswith("/") or ".." in PurePosixPath(member.name).parts:
        return "bad name: it leads out of the shard"
    return "duplicate key: an earlier picture has it" if repeated else None


def _pictures(group: Iterable[Member]) -> list[Member]:
    """Members with a picture's extension; if there is none, members with a picture's signature."""
    files = [member for member in group if member.regular]
    named = [member for member in files if _extension(member) in EXTENSIONS]
    return named or [member for member in files if has_picture_signature(member.data)]


def _metadata(group: Iterable[Member]) -> dict[str, Any]:
    """Facts from the members beside the picture: `.json`, and `.txt` as the caption."""
    facts: dict[str, Any] = {}
    for member in group:
        if _extension(member) == "json" and member.data:
            facts = {**read_json(member.data), **facts}
        elif _extension(member) == "txt" and member.data and not has_picture_signature(member.data):
            facts["caption"] = text_of_bytes(member.data)
    return facts


def _absent(shard: str, key: str, facts: Facts) -> Sample:
    """The row of a picture that only the metadata lists, normally because its download failed."""
    reason = f"failed: {download_failure(facts) or 'not in the shard'}"
    return Sample(**sample_fields(facts), key=f"{shard}/{key}", shard=shard, reason=reason)


def _is_sidecar(name: str) -> bool:
    return name.rpartition(".")[2].lower() in SIDECARS


def _is_sidecar_group(group: Iterable[Member]) -> bool:
    return all(_is_sidecar(member.name) for member in group)


def _groups(stream: Iterator[Member]) -> Iterator[tuple[str, list[Member]]]:
    """Consecutive members with one key. The group before a damage is yielded before DamagedShard is raised."""
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
    """The key by webdataset's rule: the path up to the first dot of the file name."""
    folder, _, name = member.name.removeprefix("./").rpartition("/")
    stem = name.partition(".")[0]
    return f"{folder}/{stem}" if folder else stem


def _extension(member: Member) -> str:
    return member.name.rpartition("/")[2].rpartition(".")[2].lower() if "." in member.name else ""


def _kind(member: Member) -> str:
    return (printable(_extension(member)) or "no extension") if member.regular else "a link, a device or a sparse file"


def _is_local(fs: Any) -> bool:
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(fs, LocalFileSystem)


def _stem(path: str) -> str:
    return PurePosixPath(path).name.removesuffix(TAR)


def _name(info: Mapping[str, Any]) -> str:
    return PurePosixPath(str(info["name"])).name


def _is_read(info: Mapping[str, Any]) -> bool:
    """Whether a listed entry is a shard, or one of the files that img2dataset writes beside it."""
    return info["type"] == "file" and _name(info).endswith((TAR, PARQUET, ".json"))


def _pattern(fs: Any, root: str) -> str:
    """The glob, with its folder taken literally if there is one of that name: `laion[v2]/0*.tar`."""
    folder, _, name = root.rpartition("/")
    return f"{glob.escape(folder)}/{name}" if folder and fs.exists(folder) else root


def _stamp(info: Mapping[str, Any]) -> str:
    """The size and the fields that change with the file; random if the file system has no such field."""
    fields = next((names for names in _STAMP_FIELDS if all(info.get(name) for name in names)), ())
    values = [str(info[name]) for name in fields] or [secrets.token_hex(8)]
    return ":".join([str(info["size"]), *values])
