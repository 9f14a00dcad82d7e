"""The micro world's corpus: rendered as img2dataset would have written it, and from then on an ordinary one."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from tasks.corpora.decode import Limits
from tasks.corpora.laion import LaionCorpus
from tasks.corpora.masks import Masks
from tasks.execution.progress import track
from tasks.settings.base import Settings
from tasks.world.heldout import ITEMS, fingerprints, items


class WorldCorpus(Settings):
    """Pictures of the micro world, long-tailed as the open web is."""

    kind: Literal["world"] = "world"
    pictures: int = Field(default=8000, ge=1)
    """Pictures drawn; a few fewer where one of them is held out."""
    seed: int = Field(default=0, ge=0)
    """Which pictures: the same seed gives the same bytes."""
    per_shard: int = Field(default=1000, ge=1)
    """Pictures a shard."""
    trivial: float = Field(default=0.6, ge=0, lt=1)
    """Share of plain scenes, which teach nothing."""
    held_out: int = Field(default=max(ITEMS.values()), ge=0)
    """The pictures of so many items of each benchmark split are kept out, by hash; all of them, if nothing is set."""
    limits: Limits = Limits()
    """What is decoded at all."""
    masks: Masks = Masks()
    """What of that is used."""

    def render(self, folder: Path) -> None:
        """Write the shards (tar, parquet, stats) into a folder."""
        from tasks.world.shards import write_shards

        exclude = fingerprints([item for split in ITEMS for item in items(split, self.held_out)])
        with track(self.pictures, "rendered") as progress:
            write_shards(
                folder, self.pictures, self.seed, self.per_shard, self.trivial, exclude, on_picture=progress.advance
            )

    def rendered(self, folder: Path) -> LaionCorpus:
        """The corpus that `render` wrote there."""
        return LaionCorpus(shards=str(folder), limits=self.limits, masks=self.masks)
