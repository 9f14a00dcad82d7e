"""`active-zero corpus add`: add shards to a corpus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.console import print_note
from flows.cli.corpus.info import print_info
from flows.cli.options import Json, Overrides, Shards, Verbose, examples
from flows.cli.session import Session, session_of

if TYPE_CHECKING:
    from tasks.config import RunConfig

app = typer.Typer()


@app.command(
    epilog=examples(
        "active-zero corpus add laion/00021.tar --corpus artifacts/corpora/laion",
        "active-zero corpus add s3://bucket/coco --corpus s3://bucket/corpora/web --prefix coco- --set runner=ray",
    ),
)
def add(
    context: typer.Context,
    shards: Shards,
    uri: Annotated[str, typer.Option("--corpus", "--out", metavar="URI", help="Where the corpus was built.")],
    prefix: Annotated[str, typer.Option(metavar="P", help="Put before the new shards' names and keys.")] = "",
    overrides: Overrides = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Add shards to a corpus, with the settings that it was built with; its own shards stay as they are.

    Of the overrides only `runner` and `corpus.at_once` count: they say where the work runs.
    """
    from flows.cli.stores import check_writable
    from tasks.config import load_config
    from tasks.store import Store

    settings = load_config(overrides=overrides or [])
    check_writable(Store(uri), "give the --corpus to add to")
    if not _add_shards(session_of(context), shards, uri, prefix, settings):
        print_note(f"nothing new: the corpus has all shards of {shards} already")
    print_info(uri, json)


def _add_shards(session: Session, shards: str, uri: str, prefix: str, settings: RunConfig) -> bool:
    """Whether any shard was new. UserError before any work where there are no shards or no corpus."""
    from flows.cli.runtime import working

    with working(session, "corpus-add"):
        from flows import corpus
        from flows.cli.local_runs import run_flow
        from tasks.corpora.detect import detect_source

        source = detect_source(shards, prefix=prefix)
        source.check()
        before = corpus.info(uri).shards
        flow = corpus.add.with_options(task_runner=corpus.runner(settings.runner))
        run_flow(flow, uri, source, settings.corpus.at_once)
        return corpus.info(uri).shards > before
