"""`active-zero config`: the resolved settings."""

from __future__ import annotations

import typer

from flows.cli.console import print_json, print_line
from flows.cli.options import DEFAULT_CONFIG, Config, Json, Overrides, examples

app = typer.Typer()


@app.command(
    epilog=examples(
        "active-zero config",
        "active-zero config --config qwen2.5-vl-7b --set filter.low=0.5 --json",
        "active-zero config --config qwen2.5-vl-3b > mine.yaml",
    )
)
def config(config: Config = DEFAULT_CONFIG, overrides: Overrides = None, json: Json = False) -> None:
    """Print every setting with its value and its documentation, as a YAML file that `--config` takes."""
    from tasks.config import load_config
    from tasks.settings.documented import documented_yaml

    settings = load_config(config, overrides or [])
    if json:
        print_json(settings.model_dump(mode="json"))
    else:
        print_line(documented_yaml(settings).rstrip())
