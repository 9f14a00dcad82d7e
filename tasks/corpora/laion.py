"""Shards as img2dataset and DataComp write them: `00012.tar`, perhaps with `00012.parquet` and `00012_stats.json`.

A tar is streamed once, from any fsspec URL. Its parquet also lists what could not be downloaded, and in another order,
so the two are joined on the key. Pictures are read back by byte range at the offset that the stream found. No URL in
the metadata is ever fetched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict

from tasks.corpora.decode import EXTENSIONS, Limits, Read, examine
from tasks.corpora.sample import Sample, Shard, StaleShard
from tasks.corpora.tar import BLOCK, DamagedShard, Member, is_header, members
from tasks.errors import UserError
from tasks.identity import Execution
from tasks.prompt import Picture

Metadata = Mapping[str, Mapping[str, Any]]
"""A shard's parquet by sample key, its column names in lower case."""


class Laion(BaseModel):
    """webdataset tar shards with their metadata."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["laion"] = "laion"
    shards: Annotated[str, Execution]
    """Folder or glob of the `.tar` files: a path or any fsspec URL (`s3://bucket/laion`, `data/0*.tar`). What is in the
    shards counts, not where they lie."""
    limits: Limits = Limits()
    """What is decoded at all."""

    def listing(self) -> list[Shard]:
        """The shards by name. UserError where there is none, or where two would give the same keys."""
        fs, _ = _filesystem(self.shards)
        paths = self._tars()
        if not paths:
            raise UserError(f"no .tar shards in {self.shards}: give the folder that img2dataset wrote, or a glob.")
        for one, other in pairwise(paths):
            if _stem(one) == _stem(other):
                raise UserError(f"{one} and {other} have one name, so their keys would clash: rename one of them.")
        return [_shard(fs, path) for path in paths]

    def read(self, shard: str) -> Iterator[Read]:
        """Every picture of a shard in the order of the tar, then what only its metadata lists (failed downloads).

        A damaged tar gives what comes before the damage; a row with the key `<shard>/` names it.
        """
        fs, _ = _filesystem(self.shards)
        path = self._path(shard)
        metadata, complaint = _metadata(fs, f"{path.removesuffix('.tar')}.parquet")
        if complaint:
            yield Read(Sample(key=f"{shard}/", shard=shard, reason=complaint))
        seen: set[str] = set()
        with fs.open(path, "rb") as stream:
            try:
                for key, group in _groups(members(stream, self.limits.max_bytes)):
                    yield from self._sample(f"{shard}/{key}", shard, group, metadata.get(key, {}), key in seen)
                    seen.add(key)
            except DamagedShard as damage:
                yield Read(Sample(key=f"{shard}/", shard=shard, reason=f"damaged shard: {damage}"))
        for key in metadata:
            if key not in seen:
                yield Read(_absent(shard, key, metadata[key]))

    def pictures(self, samples: Sequence[Sample]) -> list[Picture]:
        """The original bytes of served samples, in order, by byte range. StaleShard where they are not there any more.

        Each range starts at the member's header, so that an offset into a rewritten shard is noticed.
        """
        fs, _ = _filesystem(self.shards)
        order = sorted(range(len(samples)), key=lambda index: (samples[index].shard, samples[index].offset))
        paths = {shard: self._path(shard) for shard in {sample.shard for sample in samples}}
        starts = [(samples[index].offset or 0) - BLOCK for index in order]
        ends = [(samples[index].offset or 0) + (samples[index].size or 0) for index in order]
        found = fs.cat_ranges([paths[samples[index].shard] for index in order], starts, ends, on_error="return")
        pictures = {index: _verified(samples[index], data) for index, data in zip(order, found, strict=True)}
        return [pictures[index] for index in range(len(samples))]

    def _sample(
        self, key: str, shard: str, group: list[Member], metadata: Mapping[str, Any], repeated: bool
    ) -> Iterator[Read]:
        """The pictures among the members of one key: the first is the sample, any other has the key of another."""
        found = [member for member in group if _extension(member) in EXTENSIONS]
        texts = _texts(group) | {name: value for name, value in metadata.items() if value is not None}
        caption, url = _text(texts, "caption", "text"), _text(texts, "url")
        if not found:
            kinds = ", ".join(sorted({_extension(member) or "no extension" for member in group}))
            reason = f"broken: no picture, only {kinds}"
            yield Read(Sample(key=key, shard=shard, caption=caption, url=url, reason=reason))
        for number, member in enumerate(found):
            place = {"member": member.name, "offset": member.offset, "size": member.size}
            sample = Sample.model_validate({"key": key, "shard": shard, "caption": caption, "url": url} | place)
            if _leads_out(member.name):
                yield Read(sample.model_copy(update={"reason": "masked: unsafe name"}))
            elif repeated or number:
                yield Read(sample.model_copy(update={"reason": "masked: duplicate key"}))
            else:
                yield examine(sample, member.data, self.limits)

    def _tars(self) -> list[str]:
        fs, root = _filesystem(self.shards)
        pattern = root if root.endswith(".tar") else f"{root.rstrip('/')}/*.tar"
        return sorted((str(path) for path in fs.glob(pattern)), key=lambda path: (_stem(path), path))

    def _path(self, shard: str) -> str:
        _, root = _filesystem(self.shards)
        if not root.endswith(".tar"):
            return f"{root.rstrip('/')}/{shard}.tar"
        return next((path for path in self._tars() if _stem(path) == shard), root)


def _filesystem(url: str) -> tuple[Any, str]:
    import fsspec

    return fsspec.core.url_to_fs(url)  # type: ignore[no-any-return]


def _stem(path: str) -> str:
    return PurePosixPath(path).name.removesuffix(".tar")


def _shard(fs: Any, path: str) -> Shard:
    parquet = f"{path.removesuffix('.tar')}.parquet"
    versions = [_version(fs, file) for file in (path, parquet) if fs.exists(file)]
    return Shard(name=_stem(path), bytes=fs.info(path)["size"], version=" ".join(versions))


def _version(fs: Any, path: str) -> str:
    """The ETag where the store keeps one, else a sha256 of the bytes (about 1 s a GB, once a build)."""
    info = fs.info(path)
    if info.get("ETag"):
        return f"etag:{info['ETag']}:{info['size']}"
    digest = hashlib.sha256()
    with fs.open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return f"sha256:{digest.hexdigest()}"


def _metadata(fs: Any, path: str) -> tuple[Metadata, str | None]:
    """The parquet's rows by key, and a complaint where it is there and cannot be used."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not fs.exists(path):
        return {}, None
    try:
        with fs.open(path, "rb") as file:
            table = pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        return {}, f"damaged metadata: {str(error).splitlines()[0][:120]}"
    columns = {name.lower(): column for name, column in zip(table.column_names, table.columns, strict=True)}
    wanted = {name: columns[name].to_pylist() for name in _COLUMNS if name in columns}
    if "key" not in wanted:
        return {}, "damaged metadata: no column `key` to join on"
    return {str(key): {name: wanted[name][row] for name in wanted} for row, key in enumerate(wanted["key"])}, None


_COLUMNS = ("key", "caption", "text", "url", "status", "error_message")


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
    return member.name.rpartition("/")[2].partition(".")[2].lower()


def _leads_out(name: str) -> bool:
    return name.startswith("/") or ".." in PurePosixPath(name).parts


def _texts(group: list[Member]) -> dict[str, Any]:
    """Metadata from the members beside the picture: `.json` first, then `.txt` as the caption."""
    found: dict[str, Any] = {}
    for member in group:
        if _extension(member) == "json" and member.data:
            found = _json_object(member.data) | found
        elif _extension(member) == "txt" and member.data:
            found["caption"] = member.data.decode("utf-8", "replace")
    return found


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return {name.lower(): item for name, item in value.items() if item is not None} if isinstance(value, dict) else {}


def _text(values: Mapping[str, Any], *names: str) -> str | None:
    return next((str(values[name]).strip() for name in names if values.get(name) is not None), None)


def _absent(shard: str, key: str, metadata: Mapping[str, Any]) -> Sample:
    """The row of a picture that is in the metadata alone, normally because its download failed."""
    failed = metadata.get("status") not in (None, "success")
    reason = f"failed: {metadata.get('error_message') or metadata['status']}" if failed else "failed: not in the shard"
    caption, url = _text(metadata, "caption", "text"), _text(metadata, "url")
    return Sample(key=f"{shard}/{key}", shard=shard, caption=caption, url=url, reason=reason)


def _verified(sample: Sample, data: object) -> Picture:
    """The picture of a range that starts at its header; the sha256 has the last word."""
    if isinstance(data, bytes) and is_header(data[:BLOCK], sample.size or 0):
        picture = data[BLOCK:]
        if hashlib.sha256(picture).hexdigest() == sample.sha256:
            return Picture(sample.key, picture)
    why = "is gone" if isinstance(data, FileNotFoundError) else f"has changed since it was indexed ({sample.key})"
    raise StaleShard(f"shard {sample.shard} {why}: build the corpus again.")
