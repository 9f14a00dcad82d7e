"""`active-zero corpus build`: make shards or a folder of pictures searchable."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.corpus.info import print_info
from flows.cli.options import DEFAULT_CONFIG, Config, Json, Overrides, Shards, Verbose, examples
from flows.cli.session import session_of

app = typer.Typer()


@app.command(
    epilog=examples(
        "active-zero corpus build laion/ --out artifacts/corpora/laion",
        "active-zero corpus build photos/ --out s3://bucket/corpora/photos --config qwen2.5-vl-7b",
        "active-zero corpus build s3://bucket/laion --out s3://bucket/corpora/laion --set runner=ray",
    ),
)
def build(
    context: typer.Context,
    shards: Shards,
    out: Annotated[str, typer.Option("--out", metavar="URI", help="Where to build it: any fsspec URL.")],
    config: Config = DEFAULT_CONFIG,
    overrides: Overrides = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Embed and index shards or a folder of pictures; complete shards are reused."""
    from flows.cli.runtime import working
    from flows.cli.stores import check_writable
    from tasks.config import load_config
    from tasks.store import Store

    settings = load_config(config, overrides or [])
    check_writable(Store(out), "give another --out")
    with working(session_of(context), "corpus-build"):
        from flows.cli.local_runs import run_flow
        from flows.corpus import build_from

        build_from(shards, out, settings, run_flow)
    print_info(out, json)
