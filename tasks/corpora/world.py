"""The micro world's corpus: rendered as shards in img2dataset's layout, then read like any other shards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tasks.corpora.decode import Limits
from tasks.corpora.laion import LaionCorpus
from tasks.corpora.masks import Masks
from tasks.execution.progress import track
from tasks.settings.base import Settings
from tasks.world.heldout import ITEMS, items, picture_hashes

if TYPE_CHECKING:
    from tasks.corpora.protocol import Render


class WorldCorpus(Settings):
    """Pictures of the micro world, with a long tail of domains like the open web's."""

    kind: Literal["world"] = "world"
    pictures: int = Field(default=8000, ge=1)
    """Number of pictures drawn. The corpus has a few fewer: held-out pictures are left out."""
    seed: int = Field(default=0, ge=0)
    """Seed of the drawing: the same seed gives the same bytes."""
    per_shard: int = Field(default=1000, ge=1)
    """Pictures in a shard."""
    trivial: float = Field(default=0.6, ge=0, lt=1)
    """Share of plain scenes, which teach nothing."""
    held_out: int = Field(default=max(ITEMS.values()), ge=0)
    """Pictures of the first so many items of each benchmark split are left out, compared by hash. The default leaves
    out all of them."""
    limits: Limits = Limits()
    """Largest pictures that are decoded, and the share of failures at which a build stops."""
    masks: Masks = Masks()
    """Rules that exclude decoded pictures from the index."""

    @property
    def address(self) -> str:
        """The number of pictures: a rendered corpus has no address."""
        return f"{self.pictures} pictures of the micro world"

    def check(self) -> str:
        """Rendering needs nothing that could be missing."""
        return self.address

    def materialize(self, render: Render) -> LaionCorpus:
        """The corpus of the shards that `render` writes."""
        return self.rendered(render(self))

    def render(self, folder: Path) -> None:
        """Write the shards (tar, Parquet, stats) into a folder."""
        from tasks.world.shards import write_shards

        exclude = picture_hashes([item for split in ITEMS for item in items(split, self.held_out)])
        with track(self.pictures, "rendered") as progress:
            write_shards(
                folder, self.pictures, self.seed, self.per_shard, self.trivial, exclude, on_picture=progress.advance
            )

    def rendered(self, folder: Path) -> LaionCorpus:
        """The corpus of the shards that `render` wrote into `folder`."""
        return LaionCorpus(shards=str(folder), limits=self.limits, masks=self.masks)
