"""The deployed flows of `corpus build` and `evaluate`, each with its own form.

The deployment `iterate` runs the same flow as `active-zero iterate`: `flows.selfplay.play_rounds`.
"""

from __future__ import annotations

import re
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.benchmark import BenchmarkFigures, benchmark_result, score_model, team_named
from flows.corpus import build_from, info
from flows.server.parameters import Location, Override, Text
from flows.server.supervise import give_name, supervised
from tasks.config import DEFAULT, load_config
from tasks.store import Store


@flow(name="corpus", persist_result=False)
def build_corpus(shards: Location, out: Location, config: Text = DEFAULT, overrides: tuple[Override, ...] = ()) -> None:
    """Embed and index shards or a folder of pictures; complete shards are reused.

    Args:
        shards: Tar shards, or a folder of pictures.
        out: Where to build it: any fsspec URL.
        config: A file, or a name in configs/.
        overrides: Settings such as retrieval.index.kind=exact.
    """
    with supervised():
        give_name(out)
        build_from(shards, out, load_config(config, overrides))
    rows = [{"what": name, "value": str(value)} for name, value in info(out).model_dump(mode="json").items()]
    create_table_artifact(key=_key(f"corpus-{out}"), table=rows, description=f"Corpus at `{out}`")


@flow(name="benchmark", persist_result=False)
def score(model: Text, benchmark: Text, config: Text = DEFAULT, overrides: tuple[Override, ...] = ()) -> None:
    """Score a model: greedy, and the mean of k samples at temperature 1, with 95 % intervals.

    Args:
        model: Folder, hub name, run:NAME or run:NAME@ROUND.
        benchmark: world:heldout, mathvista, ... or a file.
        config: A file, or a name in configs/.
        overrides: Settings such as evaluate.items=100.
    """
    with supervised():
        give_name(f"{benchmark}, {model}")
        settings, store = load_config(config, overrides), Store.from_environment()
        team_named(model, settings, store)
        result = benchmark_result(model, benchmark, score_model.fn(settings, model, benchmark, store.url))
    figures: dict[str, BenchmarkFigures] = {**result.by_category, f"all of {benchmark}": result}
    table = [_row(name, part) for name, part in figures.items()]
    create_table_artifact(key=_key(f"{benchmark}-{model}"), table=table, description=f"{model} on {benchmark}")


def _row(category: str, figures: BenchmarkFigures) -> dict[str, Any]:
    return {
        "category": category,
        "items": figures.items,
        "greedy": _points(figures.accuracy, figures.interval),
        "mean": _points(figures.mean, figures.mean_interval),
        "majority": _points(figures.majority, figures.majority_interval),
        "unparsed, %": round(figures.unparsed, 1),
    }


def _points(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.1f} [{interval[0]:.1f}, {interval[1]:.1f}]"


def _key(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
