"""Pictures found by text: embeddings, an index over them, and both with their corpus as a library."""

from tasks.retrieval.library import Hit, Library, LibraryConfig

__all__ = ["Hit", "Library", "LibraryConfig"]
