"""Search for pictures by text: embeddings, indexes over them, and the searchable corpus (see README.md)."""

from tasks.retrieval.searchable_corpus import Hit, RetrievalConfig, SearchableCorpus

__all__ = ["Hit", "RetrievalConfig", "SearchableCorpus"]
