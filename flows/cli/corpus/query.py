"""`active-zero corpus query`: the pictures that match a text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.console import print_records, write_file
from flows.cli.options import CorpusUri, Json, examples
from tasks.settings.errors import UserError

app = typer.Typer()


@app.command(
    epilog=examples(
        'active-zero corpus query "a bar chart" --corpus artifacts/corpora/micro-world -k 3',
        'active-zero corpus query "a bar chart" --corpus artifacts/corpora/micro-world -k 30 --html sheet.html',
        'active-zero corpus query "sales by year" --corpus s3://bucket/laion --fusion --word chart --min-side 300',
    ),
)
def query(
    text: Annotated[str, typer.Argument(metavar="TEXT")],
    uri: CorpusUri,
    k: Annotated[int, typer.Option("-k", min=1, help="How many pictures.")] = 5,
    html: Annotated[Path | None, typer.Option("--html", metavar="F", help="Write them to this file as a page.")] = None,
    words: Annotated[
        list[str] | None, typer.Option("--word", metavar="W", help="The caption has this word, or one of several.")
    ] = None,
    min_side: Annotated[int, typer.Option(min=0, metavar="PIXELS", help="Least shorter side.")] = 0,
    max_unsafe: Annotated[float, typer.Option(min=0, max=1, help="Greatest `punsafe`; unknown passes.")] = 1,
    max_watermark: Annotated[float, typer.Option(min=0, max=1, help="Greatest `pwatermark`; unknown passes.")] = 1,
    fusion: Annotated[bool, typer.Option("--fusion", help="Rank by the captions' words, too (BM25).")] = False,
    json: Json = False,
) -> None:
    """Find the pictures that match a text best."""
    from flows import corpus
    from tasks.retrieval.filters import Filter

    if html and json:
        raise UserError("--html writes a page and --json prints records: give one of the two.")
    only = Filter(words=tuple(words or ()), min_side=min_side, max_unsafe=max_unsafe, max_watermark=max_watermark)
    if html:
        write_file(html, corpus.query_page(uri, text, k, only, fusion).encode(), "--html")
        return
    (hits,) = corpus.query(uri, [text], k, only, fusion)
    records = [{"rank": rank, "score": hit.score, "key": hit.key} for rank, hit in enumerate(hits, 1)]
    print_records(records, ("rank", "score", "key"), "Nothing found.", json)
