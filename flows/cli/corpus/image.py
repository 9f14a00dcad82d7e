"""`active-zero corpus image`: one picture of a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.console import write_file
from flows.cli.options import CorpusUri, examples

app = typer.Typer()


@app.command(
    epilog=examples("active-zero corpus image 00000/000000012 --corpus artifacts/corpora/micro-world --out it.png")
)
def image(
    key: Annotated[str, typer.Argument(metavar="KEY")],
    uri: CorpusUri,
    out: Annotated[Path, typer.Option("--out", metavar="F", help="The file to write.")],
) -> None:
    """Write a picture's original bytes to a file."""
    from flows import corpus

    write_file(out, corpus.image(uri, key))
