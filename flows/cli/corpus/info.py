"""`active-zero corpus info`: what a corpus holds."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.console import print_json, print_line
from flows.cli.options import Json, examples

RATE_SUFFIX = " /10000"
"""Ends the name of a counter that is a rate: counters are whole numbers."""

app = typer.Typer()


@app.command(epilog=examples("active-zero corpus info artifacts/corpora/micro-world"))
def info(uri: Annotated[str, typer.Argument(metavar="URI")], json: Json = False) -> None:
    """Print what a corpus holds: rows by reason, and the recall of its index."""
    print_info(uri, json)


def print_info(uri: str, as_json: bool) -> None:
    """Print the corpus at `uri`, one line a field, or as JSON."""
    from flows import corpus

    fields = corpus.info(uri).model_dump(mode="json")
    if as_json:
        print_json(fields)
        return
    for name, value in fields.items():
        print_line(f"{name.replace('_', ' ')}: {_text(value)}")


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(_counter(name, count) for name, count in value.items()) or "none"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _counter(name: str, count: object) -> str:
    """`kept 640`; a rate as a share of 1: `image recall@5 0.9987`."""
    if isinstance(count, int) and name.endswith(RATE_SUFFIX):
        return f"{name.removesuffix(RATE_SUFFIX)} {count / 10_000:.4g}"
    return f"{name} {count}"
