"""Flows with a form of their own for what the command line does with `corpus build` and `evaluate`.

`active-zero iterate` and the deployment `iterate` play the same flow: `flows.selfplay.play_rounds`.
"""

from __future__ import annotations

import re

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.benchmark import benchmark_result, card, score_model, team_named
from flows.corpus import build_from, info
from flows.server.parameters import Location, Override, Text
from tasks.config import DEFAULT, load_config
from tasks.execution.flow_run import take_charge
from tasks.store import Store


@flow(name="corpus", flow_run_name="{out}", persist_result=False)
def build_corpus(shards: Location, out: Location, config: Text = DEFAULT, overrides: tuple[Override, ...] = ()) -> None:
    """Embed and index shards or a folder of pictures; what is complete already is reused.

    Args:
        shards: Tar shards, or a folder of pictures.
        out: Where to build it: any fsspec URL.
        config: A file, or a name in configs/.
        overrides: Settings such as retrieval.index.kind=exact.
    """
    take_charge()
    build_from(shards, out, load_config(config, overrides))
    told = [{"what": name, "value": str(value)} for name, value in info(out).model_dump(mode="json").items()]
    create_table_artifact(key=_key(f"corpus-{out}"), table=told, description=f"Corpus at `{out}`")


@flow(name="benchmark", flow_run_name="{benchmark}", persist_result=False)
def score(model: Text, benchmark: Text, config: Text = DEFAULT, overrides: tuple[Override, ...] = ()) -> None:
    """Score a model: greedy, and the mean of k samples at temperature 1, with 95 % intervals.

    Args:
        model: Folder, hub name, run:NAME or run:NAME@ROUND.
        benchmark: world:heldout, mathvista, ... or a file.
        config: A file, or a name in configs/.
        overrides: Settings such as evaluate.items=100.
    """
    take_charge()
    settings, store = load_config(config, overrides), Store.from_environment()
    team_named(model, settings, store)
    rows = score_model.fn(settings, model, benchmark, store.url)
    whole = benchmark_result(model, benchmark, rows)
    parts = {**whole.by_category, f"all of {benchmark}": card(rows)}
    table = [
        {
            "category": name,
            "items": one.items,
            "greedy": _points(one.accuracy, one.interval),
            "mean": _points(one.mean, one.mean_interval),
            "majority": _points(one.majority, one.majority_interval),
            "unparsed, %": round(one.unparsed, 1),
        }
        for name, one in parts.items()
    ]
    create_table_artifact(key=_key(f"{benchmark}-{model}"), table=table, description=f"{model} on {benchmark}")


def _points(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.1f} [{interval[0]:.1f}, {interval[1]:.1f}]"


def _key(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
