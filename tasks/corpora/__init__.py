"""Where pictures come from. A new kind of corpus is one file here and one line in the union."""

from typing import Annotated

from pydantic import Field

from tasks.corpora.folder import FolderCorpus, FolderShard
from tasks.corpora.laion import LaionCorpus, TarShard
from tasks.corpora.world import WorldCorpus

CorpusConfig = Annotated[LaionCorpus | FolderCorpus | WorldCorpus, Field(discriminator="kind")]

Corpus = LaionCorpus | FolderCorpus
"""A corpus that can be listed, read and read back; a `WorldCorpus` is one once it is rendered."""

Source = TarShard | FolderShard
"""One shard of a corpus, to be read inside a `with`."""

__all__ = ["Corpus", "CorpusConfig", "FolderCorpus", "LaionCorpus", "Source", "WorldCorpus"]
