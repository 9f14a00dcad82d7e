"""Where pictures come from. `protocol.py` says what a corpus must do; a new kind is one file and one line here."""

from typing import Annotated

from pydantic import Field

from tasks.corpora.folder import FolderCorpus
from tasks.corpora.laion import LaionCorpus
from tasks.corpora.protocol import Corpus, CorpusSource, Render, RenderedSource, ShardReader
from tasks.corpora.world import WorldCorpus

CorpusConfig = Annotated[LaionCorpus | FolderCorpus | WorldCorpus, Field(discriminator="kind")]

__all__ = [
    "Corpus",
    "CorpusConfig",
    "CorpusSource",
    "FolderCorpus",
    "LaionCorpus",
    "Render",
    "RenderedSource",
    "ShardReader",
    "WorldCorpus",
]
