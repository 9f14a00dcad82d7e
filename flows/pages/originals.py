"""Pictures as the corpus of a round holds them."""

from __future__ import annotations

from functools import lru_cache

from flows.pages.rounds import searched_corpus
from flows.round import round_place
from tasks.corpus import corpus_place, open_corpus
from tasks.retrieval.searchable_corpus import SearchableCorpus
from tasks.store import Store


def original(store: Store, run: str, number: int, key: str) -> tuple[str, bytes]:
    """Media type and bytes of a picture. UserError for a key that the round's corpus does not serve."""
    store.check_round(run, number)
    corpus = _opened(*searched_corpus(round_place(store, run, number)))
    (picture,) = corpus.pictures([key])
    return picture.portable


@lru_cache(maxsize=2)
def _opened(address: str, fingerprint: str) -> SearchableCorpus:
    """The corpus at an address; the fingerprint of its index tells a corpus that has grown from the one before."""
    return open_corpus(corpus_place(address))
