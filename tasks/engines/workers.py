"""One engine made of several processes, each with the model and one thread.

The processes are forked from a server that has imported torch and holds no thread of its own (`forkserver`): forking
this process would copy locks held by Prefect's threads, and spawning would import torch in every process anew.
Requests travel pickled, pictures as their encoded bytes. Chunks go to whichever process is free. A process that dies is
an error that names it; if this process dies, its workers leave in the middle of whatever they do, and the server
after them.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import ceil
from multiprocessing.connection import Connection, wait
from typing import Any

from tasks.engines.request import Completion, Engine, Request, by_adapter
from tasks.execution.processes import leave_with_creator
from tasks.records.picture import Picture
from tasks.settings.errors import UserError

PRELOAD = ["torch", "transformers.models.qwen2_5_vl.modeling_qwen2_5_vl", "peft", "tasks.engines.decode"]


class WorkerDied(RuntimeError):
    """A worker process ended before it answered."""


class WorkerEngine:
    """An engine whose requests are split over processes, each with an engine of its own."""

    def __init__(self, open_engine: Callable[[], Engine], workers: int, rows: int) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
        self._rows = rows
        self._workers = [_Worker(context, number, open_engine) for number in range(workers)]
        try:
            for worker in self._workers:
                worker.receive()  # ready, or why not
        except BaseException:
            self.close()
            raise

    def generate(
        self, requests: Sequence[Request], on_done: Callable[[int], None] | None = None
    ) -> list[list[Completion]]:
        """See `Engine.generate`."""
        results: list[list[Completion]] = [[] for _ in requests]
        waiting = deque(self._chunks(requests))
        busy: dict[_Worker, list[int]] = {}
        idle = list(self._workers)
        try:
            while waiting or busy:
                while waiting and idle:
                    worker, chunk = idle.pop(), waiting.popleft()
                    worker.send([_portable(requests[index]) for index in chunk])
                    busy[worker] = chunk
                for worker in _ready(busy):
                    answers = worker.receive()
                    for index, answer in zip(busy.pop(worker), answers, strict=True):
                        results[index] = answer
                    idle.append(worker)
                    if on_done is not None:
                        on_done(sum(map(len, answers)))
        except BaseException:
            self.close()  # what the workers still answer would belong to no question
            raise
        return results

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.close()

    def _chunks(self, requests: Sequence[Request]) -> list[list[int]]:
        """Indices that go to a worker together: like requests, a wave at most, and enough chunks for all workers."""
        from tasks.engines.decode import waves

        total = sum(request.n for request in requests)
        rows = max(1, min(self._rows, ceil(total / len(self._workers))))
        chunks = []
        for indices in by_adapter(requests).values():
            asked = [requests[index] for index in indices]
            lengths = [len(request.prompt.user) for request in asked]
            chunks += [[indices[at] for at in wave] for wave in waves(asked, lengths, rows)]
        return chunks


class _Worker:
    """One process and the pipe to it."""

    def __init__(self, context: Any, number: int, open_engine: Callable[[], Engine]) -> None:
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, open_engine)
        self.process = context.Process(target=_serve, args=arguments, name=f"engine worker {number}", daemon=True)
        self.process.start()
        theirs.close()

    def send(self, message: list[Request] | None) -> None:
        try:
            self.pipe.send(message)
        except OSError as error:
            raise self._died() from error

    def receive(self) -> Any:
        """The worker's answer; raises what it raised, or WorkerDied."""
        try:
            answer = self.pipe.recv()
        except (EOFError, OSError) as error:
            raise self._died() from error
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self) -> None:
        if not self.pipe.closed:
            self.pipe.close()  # it reads the end of its pipe and leaves
            self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def _died(self) -> WorkerDied:
        self.process.join(5)
        return WorkerDied(
            f"{self.process.name} (process {self.process.pid}) died with exit code {self.process.exitcode}: "
            "-9 is often a lack of memory; set engine.workers or engine.rows lower"
        )


def _ready(busy: dict[_Worker, list[int]]) -> list[_Worker]:
    """Workers that have answered or died (their pipe then reads as ended)."""
    ready = wait([worker.pipe for worker in busy])
    return [worker for worker in busy if worker.pipe in ready]


def _portable(request: Request) -> Request:
    """The request with nothing of its picture but the encoded bytes."""
    picture = request.picture
    return (
        request
        if picture is None
        else replace(request, picture=Picture(picture.key, picture.data, picture.orientation))
    )


def _serve(pipe: Connection, open_engine: Callable[[], Engine]) -> None:
    """A worker's life: load, say so, answer until the pipe ends."""
    import traceback

    leave_with_creator()
    try:
        engine = open_engine()
        pipe.send(None)
        while True:
            pipe.send(engine.generate(pipe.recv()))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return
    except UserError as error:
        pipe.send(error)
    except Exception:
        pipe.send(RuntimeError(f"an engine worker failed:\n{traceback.format_exc()}"))
