"""Pictures found by text: embeddings, an index over them, and both with their corpus as a library."""

from tasks.retrieval.searchable_corpus import Hit, RetrievalConfig, SearchableCorpus

__all__ = ["Hit", "RetrievalConfig", "SearchableCorpus"]
