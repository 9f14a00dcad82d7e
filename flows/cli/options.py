"""Option types that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.session import session_of

DEFAULT_CONFIG = "tiny.yaml"
"""Equals `tasks.config.DEFAULT`, whose import takes longer than `--help` may."""


def examples(*lines: str) -> str:
    """The epilog of a command's help."""
    return "\n\n".join(["Examples:", *lines])


def _set_verbose(context: typer.Context, value: bool) -> None:
    session_of(context).verbose = value


Config = Annotated[str, typer.Option("--config", metavar="F", help="A file, or a name in configs/.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="a.b=c", help="Override a setting; may be repeated.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output and nothing else.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", callback=_set_verbose, help="Show all logs, and errors with their traceback.")
]
CorpusUri = Annotated[str, typer.Option("--corpus", metavar="URI", help="Where the corpus was built.")]
ForceFrom = Annotated[
    str | None, typer.Option("--force-from", metavar="STAGE", help="Run this stage and all later ones again.")
]
Gpus = Annotated[int | None, typer.Option("--gpus", metavar="N", min=1, help="Cards of the cluster.")]
Shards = Annotated[str, typer.Argument(metavar="SHARDS_OR_FOLDER", help="Tar shards, or a folder of pictures.")]
BenchmarkName = Annotated[
    str,
    typer.Option("--benchmark", metavar="NAME|FILE.tsv", help="world:heldout, mathvista, ... or a VLMEvalKit file."),
]
