"""Requests and seconds of the commands that read a store on S3: `python -m tests.bench.s3_reading`.

Plays one tiny round in a bucket, copies it as many runs and rounds, and runs each command in a process of its own,
through a proxy that counts requests. The server is the real one that `ACTIVE_ZERO_TEST_S3` names, else a small one in
memory. `--code FOLDER` measures another checkout of this project, on the same objects.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from flows.history import write_index
from flows.selfplay import play_rounds
from tasks.store import Store
from tests.fixtures.small_s3 import FaultyProxy, small_s3
from tests.fixtures.tiny_round import write_tiny_config

ROOT = Path(__file__).parents[2]
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
ALWAYS_PROMOTED = ("promote.least_mean_gain=-100", "promote.greatest_greedy_loss=100")
COMMANDS = (
    ["runs", "--json"], ["show", "run-00"], ["show", "run-00", "--round", "1"],
    ["curriculum", "run-00", "--round", "1"],
    ["curriculum", "run-00", "--round", "1", "--format", "html", "--out", os.devnull], ["gc", "--dry-run"],
)  # fmt: skip


def copied_runs(url: str, folder: Path, runs: int, rounds: int) -> Path:
    """Play a round in the store, and copy it there as so many runs; the config that played it, in `folder`."""
    config, store = write_tiny_config(folder), Store(url)
    store.fs.mkdir(store.root.partition("/")[0])
    play_rounds("played", config=str(config), overrides=ALWAYS_PROMOTED)
    played = f"{store.root}/runs/played"
    objects = {path.removeprefix(f"{played}/"): store.files.read(path) for path in store.fs.find(played)}
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda copy: store.fs.pipe_file(*copy), _copies(objects, f"{store.root}/runs", runs, rounds)))
    for path in store.fs.find(played):
        store.files.remove(path)
    for number in range(runs):
        write_index(store, f"run-{number:02d}")
    return config


def _copies(objects: Mapping[str, bytes], folder: str, runs: int, rounds: int) -> Iterator[tuple[str, bytes]]:
    """Paths and bytes of the copies: the played round as each round, and the base model's scores."""
    for run in range(runs):
        for path, data in objects.items():
            round_, _, rest = path.partition("/")
            numbers = {"round-000": [0], "round-001": range(1, rounds + 1)}.get(round_, [])
            yield from ((f"{folder}/run-{run:02d}/round-{number:03d}/{rest}", data) for number in numbers)


@contextmanager
def counted(line: FaultyProxy) -> Iterator[Callable[[], int]]:
    """A function that tells how many requests have passed since the block began."""
    before = line.requests
    yield lambda: line.requests - before


def main() -> None:
    """Print a line for each command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that the proxy adds to each reply")
    parser.add_argument("--code", type=Path, action="append", help="a checkout to measure; may be repeated")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        upstream = stack.enter_context(_server(folder / "s3"))
        line = FaultyProxy(upstream["AWS_ENDPOINT_URL"])
        os.environ.update({**KEYS, **upstream, "ACTIVE_ZERO_STORE": "s3://reading/store"})
        config = copied_runs("s3://reading/store", folder, options.runs, options.rounds)
        os.environ["AWS_ENDPOINT_URL"] = stack.enter_context(line.open())
        line.delay = options.delay
        print(f"{options.runs} runs of {options.rounds} rounds, {options.delay:g} s added to each reply")
        for code in options.code or [ROOT]:
            for arguments in COMMANDS:
                _measure(code, [*arguments, *(["--config", str(config)] if "html" in arguments else [])], line)


def _measure(code: Path, arguments: list[str], line: FaultyProxy) -> None:
    environment = {**os.environ, "PYTHONPATH": str(code)}
    start = time.monotonic()
    with counted(line) as requests:
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *arguments], cwd=code, env=environment, capture_output=True, text=True
        )
    ended = "" if done.returncode == 0 else f"  exit {done.returncode}: {done.stderr.strip()[-200:]}"
    shown = " ".join(arguments[:5])
    print(f"{code.name:12} {shown:50} {requests():6} requests {time.monotonic() - start:7.1f} s{ended}", flush=True)


@contextmanager
def _server(folder: Path) -> Iterator[dict[str, str]]:
    """Address and keys of the server that `ACTIVE_ZERO_TEST_S3` names, or of a small one."""
    program = os.environ.get("ACTIVE_ZERO_TEST_S3")
    if program is None:
        with small_s3() as address:
            yield {"AWS_ENDPOINT_URL": address}
        return
    started = subprocess.run([program, "start", str(folder)], check=True, capture_output=True, text=True)
    try:
        yield dict(re.findall(r"(AWS_\w+)=(\S+)", started.stdout))
    finally:
        subprocess.run([program, "wipe", str(folder)], check=True, capture_output=True)


if __name__ == "__main__":
    main()
