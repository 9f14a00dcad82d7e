"""The cost of orchestration: wall time of a round against the time of its stages.

    python -m tests.ui.overhead [--config FILE]

Plays a round at a running server, the same round again with all stages complete, and a round with a temporary server
(`no server`). Prints wall time, the stages' own time, and the rest as a share of the stages' time. Takes as long as two
rounds; `--config` is `tiny.yaml` by default.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time

import typer

from flows.cli.runtime import prepare, working
from flows.cli.session import Session
from flows.server.server import free_port, local_url, temporary_server
from tasks.config import DEFAULT, load_config
from tasks.corpus import CorpusHandle
from tasks.store import Store

COMMAND = ["-m", "flows.cli"]
AGAIN = ["-c", "from sys import argv; from tests.ui.overhead import again; again(*argv[1:])"]
REPEATS = 3


def main(config: str = DEFAULT) -> None:
    """Print one JSON object a line."""
    prepare()
    report("help", seconds([*COMMAND, "--help"], {}), 0.0)
    with tempfile.TemporaryDirectory() as folder:
        home = {"ACTIVE_ZERO_STORE": f"{folder}/store", "PREFECT_HOME": f"{folder}/prefect"}
        os.environ |= home
        CorpusHandle.of_run(Store.from_environment(), load_config(config))  # build the corpus once, not in each round
        url = local_url(free_port())
        with temporary_server(url) as wait_until_ready:
            wait_until_ready()
            with_server = {"PREFECT_API_URL": url}
            measured("running server", config, "served", with_server)
            for _ in range(REPEATS):
                report("complete round again", seconds([*AGAIN, config, "served"], with_server), 0.0)
        measured("no server", config, "alone", {})


def measured(name: str, config: str, run: str, environment: dict[str, str]) -> None:
    wall = seconds([*COMMAND, "iterate", "--config", config, "--run", run], environment)
    report(name, wall, stages(run))


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """Wall time of a command."""
    start = time.monotonic()
    subprocess.run([sys.executable, *command], env={**os.environ, **environment}, check=True, capture_output=True)
    return time.monotonic() - start


def stages(run: str) -> float:
    """Seconds of all stages of a run, from their manifests."""
    store = Store.from_environment()
    played = (stage for number in store.rounds(run) for stage in store.stages(run, number))
    return sum(manifest.seconds for _, manifest in played if manifest)


def report(name: str, wall: float, played: float) -> None:
    figures = {"stages": round(played, 1), "share": round((wall - played) / played, 3)} if played else {}
    print(json.dumps({"what": name, "wall": round(wall, 1), **figures}), flush=True)


def again(config: str, run: str) -> None:
    """Run the round as the retry of a flow run does: the complete round, not the next one."""
    with working(Session(), "again", preload="flows.round"):
        from prefect import flow

        from flows.history import start_of
        from flows.round import play_round

        settings, store = load_config(config), Store.from_environment()
        flow(play_round)(settings, store, run, 1, start_of(settings, store, run, 1))


if __name__ == "__main__":
    typer.run(main)
