"""What orchestration costs, on the round of a config (the embedded one by default).

    python -m tests.ui.overhead [--config FILE]

Plays a round with a server of its own for the time (`none`), one with a running server, that one again with everything
complete, and prints wall time, the stages' own time, and the difference. Takes four rounds' time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import typer

from flows.cli_server import free_port, local_url, temporary, wait_for
from flows.cli_work import prepare
from tasks.config import DEFAULT
from tasks.store import Store


def main(config: str = DEFAULT) -> None:
    """Print one JSON object a line."""
    prepare()
    told("help", seconds(["--help"], {}), 0.0)
    with tempfile.TemporaryDirectory() as folder:
        home = {"ACTIVE_ZERO_STORE": f"{folder}/store", "PREFECT_HOME": f"{folder}/prefect"}
        seconds(["iterate", "--config", config, "--run", "warm"], home)  # corpus, database, bytecode
        measured("no server", config, "alone", home)
        url = local_url(free_port())
        with temporary(url) as process:
            wait_for(url, process)
            with_server = {**home, "PREFECT_API_URL": url}
            measured("running server", config, "served", with_server)
            store = Store(home["ACTIVE_ZERO_STORE"])
            (Path(store.root) / "runs/served/round-001/10-report/manifest.json").unlink()
            measured("all but the report reused", config, "served", with_server)


def measured(name: str, config: str, run: str, environment: dict[str, str]) -> None:
    before = stages(environment, run)
    wall = seconds(["iterate", "--config", config, "--run", run], environment)
    told(name, wall, sum(one for key, one in stages(environment, run).items() if before.get(key) != one))


def seconds(arguments: list[str], environment: dict[str, str]) -> float:
    """Of a command, by the clock."""
    started = time.monotonic()
    command = [sys.executable, "-m", "flows.cli", *arguments]
    subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True)
    return time.monotonic() - started


def stages(environment: dict[str, str], run: str) -> dict[str, float]:
    """Seconds of each stage that is complete, by its manifest."""
    store = Store(environment["ACTIVE_ZERO_STORE"])
    if run not in store.runs():
        return {}
    return {
        f"{number}/{name}/{manifest.created}": manifest.seconds
        for number in store.rounds(run)
        for name, manifest in store.stages(run, number)
        if manifest
    }


def told(name: str, wall: float, played: float) -> None:
    share = {"share": round((wall - played) / played, 3)} if played > 1 else {}
    print(json.dumps({"what": name, "wall": round(wall, 1), "stages": round(played, 1), **share}), flush=True)


if __name__ == "__main__":
    typer.run(main)
