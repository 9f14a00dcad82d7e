"""The protocols of a corpus: where pictures come from, and what a kind of corpus must do.

A new kind of corpus is one file beside this one, with a settings class that implements `Corpus`, and one line in the
union `CorpusConfig` of `tasks/corpora/__init__.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from tasks.corpora.decode import DecodedSample, Limits
from tasks.corpora.masks import Masks
from tasks.corpora.sample import ListedShard, Location, Shard
from tasks.records.picture import Picture

if TYPE_CHECKING:
    from tasks.corpora.decode import Transform


class CorpusSource(Protocol):
    """Settings that say where pictures come from: what every class in the union `CorpusConfig` must offer.

    It is a frozen pydantic model with a field `kind`, which chooses the class in YAML. Fields that say only *where* the
    pictures lie are declared `NotFingerprinted`: the contents of the shards enter fingerprints, addresses do not.
    """

    @property
    def limits(self) -> Limits:
        """Largest pictures that are decoded, and the share of failures at which a build stops."""

    @property
    def masks(self) -> Masks:
        """Rules that exclude decoded pictures from the index."""

    @property
    def address(self) -> str:
        """Where the pictures come from, in words for a person. Never contains credentials."""

    def check(self) -> str:
        """Check that there is something to build from and say what, such as `20 shards`. UserError if there is not."""

    def materialize(self, render: Render) -> Corpus:
        """The corpus whose shards can be read. A corpus with existing shards returns itself and ignores `render`."""


class Corpus(CorpusSource, Protocol):
    """A corpus with shards that exist.

    It lists its shards, opens one shard for reading, and reads pictures back by their location. Keys are
    `<shard>/<sample key>`, unique in the corpus. The same shard always gives the same rows in the same order.
    """

    def listing(self) -> list[ListedShard]:
        """All shards by name, from a listing alone: no shard is read. UserError if there is none."""

    def left_out(self) -> list[str]:
        """What lies at the address and is not read, in words; empty if that is nothing."""

    def shard(self, name: str) -> ShardReader:
        """A reader of one listed shard. Fetches nothing yet."""

    def pictures(self, wanted: Sequence[Location]) -> list[Picture]:
        """The original bytes in the order of `wanted`, each compared with its checksum.

        StaleShard if a shard is missing or has changed since it was indexed.
        """


class ShardReader(Protocol):
    """One shard of a corpus, used in a `with` block. Files that were fetched are removed when the block ends."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    metadata_rows: tuple[int, int]
    """Rows of the shard's own metadata that joined a picture, and all of them. Known when the shard was read."""

    def describe(self) -> Shard:
        """Name, size and version of the shard. The version depends on the contents alone, wherever they lie."""

    def read(self, transform: Transform | None = None) -> Iterator[DecodedSample]:
        """Every row of the shard once, in a fixed order; damage becomes a row with a reason, never an exception.

        `transform` is applied to each decoded picture.
        """


class RenderedSource(CorpusSource, Protocol):
    """A source whose shards must be written before they can be read, such as the micro world."""

    def render(self, folder: Path) -> None:
        """Write the shards into an existing, empty folder. The same settings write the same bytes."""

    def rendered(self, folder: Path) -> Corpus:
        """The corpus of the shards that `render` wrote into `folder`."""


Render = Callable[[RenderedSource], Path]
"""Calls a source's `render` once, keeps the shards, and returns their folder."""
