"""Where pictures come from. A new kind of corpus is one file here and one line in the union."""

from typing import Annotated

from pydantic import Field

from tasks.corpora.folder import Folder, FolderShard
from tasks.corpora.laion import Laion, TarShard
from tasks.corpora.world import World

CorpusConfig = Annotated[Laion | Folder | World, Field(discriminator="kind")]

Corpus = Laion | Folder
"""A corpus that can be listed, read and read back; a `World` is one once it is rendered."""

Source = TarShard | FolderShard
"""One shard of a corpus, to be read inside a `with`."""

__all__ = ["Corpus", "CorpusConfig", "Folder", "Laion", "Source", "World"]
