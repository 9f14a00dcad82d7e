"""`active-zero corpus ...`: what the corpus programs do, with mistakes found before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flows.cli.runs import refuse_if_not_writable
from flows.cli.runtime import working
from tasks.config import load_config
from tasks.store import Store

if TYPE_CHECKING:
    from tasks.retrieval.filters import Filter


def build(shards: str, out: str, config: str, overrides: Sequence[str]) -> None:
    """Build or bring up to date. UserError before any work where there is nothing to build from."""
    settings = load_config(config, overrides)
    refuse_if_not_writable(Store(out), "give another --out")
    with working("corpus-build"):
        from flows import corpus

        corpus.build_from(shards, out, settings)


def add(shards: str, uri: str, prefix: str, overrides: Sequence[str] = ()) -> bool:
    """Further shards for a built corpus; whether any was new. UserError before any work without shards or corpus.

    Of the settings only those count that say where the work runs: `runner`, `corpus.at_once`.
    """
    settings = load_config(overrides=overrides)
    refuse_if_not_writable(Store(uri), "give the --corpus that shall grow")
    with working("corpus-add"):
        from flows import corpus

        source = corpus.source(shards, prefix=prefix)
        source.listing()
        before = corpus.info(uri).shards
        flow = corpus.add.with_options(task_runner=corpus.runner(settings.runner))
        flow(uri, source, settings.corpus.at_once)
        return corpus.info(uri).shards > before


def info(uri: str) -> dict[str, Any]:
    """What was built there."""
    from flows import corpus

    return corpus.info(uri).model_dump(mode="json")


def query(uri: str, text: str, k: int, only: Filter, fusion: bool) -> list[dict[str, Any]]:
    """Records of the k best pictures."""
    from flows import corpus

    (hits,) = corpus.query(uri, [text], k, only, fusion)
    return [{"rank": rank, "score": hit.score, "key": hit.key} for rank, hit in enumerate(hits, 1)]


def sheet(uri: str, text: str, k: int, only: Filter, fusion: bool) -> str:
    """The k best pictures as one HTML page."""
    from flows import corpus

    return corpus.sheet(uri, text, k, only, fusion)


def image(uri: str, key: str) -> bytes:
    """A picture's original bytes."""
    from flows import corpus

    return corpus.image(uri, key)
