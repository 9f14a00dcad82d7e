"""Scheduling over many replicas, by simulation: `python -m tests.bench.cluster_simulation 64 200000 scheduling.png`.

Ray, the engine of replicas and requests with pictures are real. A replica only sleeps for the time that its tokens
would take (`RATE`), `SPEED` times faster. One replica in eight is killed on the way. Efficiency is the time that the
tokens take on all replicas together, divided by the time that it took. The plot, if a file is named, has the share of
the replicas that were at work in each second; work that died with its replica counts as idle.
"""

from __future__ import annotations

import math
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from tasks.corpora.sample import Location
from tasks.corpora.spool import read_to_disk
from tasks.engines import Ray, Scripted
from tasks.engines.partial_completions import generate_or_resume
from tasks.engines.pictures import OWN_LIMITS, PictureBudget
from tasks.engines.protocol import Engine
from tasks.engines.request import Completion, Request, Sampling
from tasks.records.picture import Picture
from tasks.records.prompt import Prompt
from tests.fixtures.ray_cluster import actor_processes

RATE = 5439.0
"""Tokens a second of a replica: a 7B model on an H100 with the transformers engine (tests/gpu/README.md)."""
SPEED, TOKENS, ANSWERS, PICTURE = 8.0, 250, 8, 40_000
"""Tokens of an answer on average, answers a request, bytes of a picture."""


class Sleeping(Scripted):
    """Settings of an engine that sleeps."""

    times: str
    """Folder with a file a process: begin and end of each call."""

    def open(self, model: str, pictures: PictureBudget) -> Engine:
        return SleepingEngine(Path(self.times) / str(os.getpid()))


class SleepingEngine(Engine):
    """Answers after the time that the tokens take."""

    def __init__(self, times: Path) -> None:
        self._times = times

    def generate(
        self, requests: Sequence[Request], on_done: Callable[[int], None] | None = None
    ) -> list[list[Completion]]:
        answers = [
            [Completion("42", tokens_of(request, i), finished=True) for i in request.numbers] for request in requests
        ]
        begin = time.time()
        time.sleep(sum(answer.tokens for group in answers for answer in group) / RATE / SPEED)
        with self._times.open("a") as file:
            file.write(f"{begin} {time.time()}\n")
        return answers

    def close(self) -> None:
        """Nothing to free."""


def tokens_of(request: Request, number: int) -> int:
    """Between half and one and a half of `TOKENS`."""
    return TOKENS // 2 + Random(request.seed * 1000 + number).randrange(TOKENS)


def requests_of(count: int) -> list[Request]:
    """Four requests a picture, the pictures on disk."""
    wanted = [Location(f"p{i}", "s", f"{i}.jpg", i * PICTURE, PICTURE, 0, 1) for i in range(count // 4)]
    noise = Random(0).randbytes(PICTURE)
    pictures = read_to_disk(lambda part: [Picture(each.key, noise) for each in part], wanted)
    return [
        Request(Prompt(f"question {i}"), pictures[i // 4], None, Sampling(TOKENS), ANSWERS, seed=i)
        for i in range(4 * len(pictures))
    ]


def kill_some(count: int, seconds: float, killed: list[float]) -> None:
    """Kill so many replicas, one after another, within the time. `killed` gets the times."""
    import ray

    random = Random(1)
    for _ in range(count):
        time.sleep(seconds / (count + 1))
        address = ray.get_runtime_context().gcs_address
        os.kill(random.choice(sorted(actor_processes("Replica", address))), signal.SIGKILL)
        killed.append(time.time())


def busy_shares(times: Path, replicas: int, start: float, seconds: float) -> list[float]:
    """The share of the replicas that were at work, for each second from `start`."""
    shares = [0.0] * math.ceil(seconds)
    for file in times.iterdir():
        for line in file.read_text().splitlines():
            begin, end = (float(word) - start for word in line.split())
            for second in range(int(begin), min(int(end) + 1, len(shares))):
                shares[second] += max(0.0, min(end, second + 1) - max(begin, second)) / replicas
    return shares


def draw(shares: Sequence[float], killed: Sequence[float], title: str, out: Path) -> None:
    """The busy share over time as a PNG, with a mark for each killed replica."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.6), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.step(range(len(shares)), [100 * share for share in shares], where="post", color="#1f5fa8")
    if killed:
        axes.plot(killed, [3] * len(killed), "^", color="#b3402a", label="a replica is killed")
        axes.legend(loc="center", frameon=False)
    axes.set(xlabel="seconds", ylabel="replicas at work, %", ylim=(0, 105), xlim=(0, len(shares)), title=title)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(out)


def main(replicas: int, count: int, plot: Path | None) -> None:
    import ray

    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    ray.init(address="local", num_cpus=replicas, include_dashboard=False, log_to_driver=False)
    requests = requests_of(count)
    tokens = sum(tokens_of(request, i) for request in requests for i in request.numbers)
    least = tokens / RATE / SPEED / replicas
    print(
        f"{len(requests)} requests, {tokens / 1e6:.0f} million tokens: {least:.1f} s on {replicas} replicas", flush=True
    )
    killed: list[float] = []
    with tempfile.TemporaryDirectory() as times:
        engine = Ray(of=Sleeping(times=times), replicas=replicas).open("", OWN_LIMITS)
        threading.Thread(target=kill_some, args=(replicas // 8, least, killed), daemon=True).start()
        started, clock = time.time(), time.monotonic()
        answers = generate_or_resume(None, requests, engine.stream, lambda k: None)
        seconds = time.monotonic() - clock
        shares = busy_shares(Path(times), replicas, started, seconds)
    assert sum(answer.tokens for group in answers for answer in group) == tokens
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    result = f"{seconds:.1f} s, efficiency {least / seconds:.3f}, memory of the driver {memory:.2f} GiB"
    print(result, flush=True)
    engine.close()
    ray.shutdown()
    if plot is not None:
        title = f"{replicas} replicas, {len(requests)} requests: efficiency {least / seconds:.3f}"
        draw(shares, [moment - started for moment in killed], title, plot)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
