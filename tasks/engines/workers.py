"""One engine made of several worker processes, each with its copy of the model and one thread.

The workers are forked from a server process that has imported torch and runs no thread of its own (`forkserver`):
forking this process would copy locks that Prefect's threads hold, and spawning would import torch in every worker anew.
Requests travel pickled, pictures as their encoded bytes. The next part of the requests goes to the first idle worker. A
worker that dies is an error that names it. If this process dies, its workers end at once, and the server after them.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from tasks.engines.parts import parts
from tasks.engines.protocol import Engine
from tasks.engines.request import Completion, Request
from tasks.execution.processes import exit_with_creator
from tasks.settings.errors import UserError

PRELOAD = ["torch", "transformers.models.qwen2_5_vl.modeling_qwen2_5_vl", "peft", "tasks.engines.decode"]
"""Modules that the server process imports once for all workers."""


class WorkerDied(RuntimeError):
    """A worker process ended before it answered."""


class WorkerEngine(Engine):
    """An engine that splits its requests over processes, each with an engine of its own."""

    def __init__(self, open_engine: Callable[[], Engine], workers: int, rows: int) -> None:
        """Starts `workers` processes that each call `open_engine`; a part has about `rows` completions."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
        self._rows = rows
        self._workers = [_Worker(context, number, open_engine) for number in range(workers)]
        try:
            for worker in self._workers:
                worker.receive()  # None once its engine is open, or the error
        except BaseException:
            self.close()
            raise

    def generate(
        self, requests: Sequence[Request], on_done: Callable[[int], None] | None = None
    ) -> list[list[Completion]]:
        """See `Engine.generate`. `WorkerDied` if a worker ends; any error closes the engine."""
        results: list[list[Completion]] = [[] for _ in requests]
        waiting = deque(parts(requests, self._rows))
        busy: dict[_Worker, list[int]] = {}
        idle = list(self._workers)
        try:
            while waiting or busy:
                while waiting and idle:
                    worker, batch = idle.pop(), waiting.popleft()
                    worker.send([requests[index] for index in batch])
                    busy[worker] = batch
                for worker in _ready(busy):
                    answers = worker.receive()
                    for index, answer in zip(busy.pop(worker), answers, strict=True):
                        results[index] = answer
                    idle.append(worker)
                    if on_done is not None:
                        on_done(sum(map(len, answers)))
        except BaseException:
            self.close()  # answers still on their way would be taken for those of the next call
            raise
        return results

    def close(self) -> None:
        """End the worker processes."""
        for worker in self._workers:
            worker.close()


class _Worker:
    """One worker process and the pipe to it."""

    def __init__(self, context: Any, number: int, open_engine: Callable[[], Engine]) -> None:
        self.pipe, worker_end = context.Pipe()
        arguments = (worker_end, open_engine)
        self.process = context.Process(target=_serve, args=arguments, name=f"engine worker {number}", daemon=True)
        self.process.start()
        worker_end.close()

    def send(self, requests: list[Request]) -> None:
        """Give the worker its next requests. `WorkerDied` if it has ended."""
        try:
            self.pipe.send(requests)
        except OSError as error:
            raise self._death() from error

    def receive(self) -> Any:
        """The worker's next message. Raises an error that it sent, and `WorkerDied` if it has ended."""
        try:
            answer = self.pipe.recv()
        except (EOFError, OSError) as error:
            raise self._death() from error
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self) -> None:
        """End the process: a closed pipe tells it to exit; after 5 s it is killed."""
        if not self.pipe.closed:
            self.pipe.close()
            self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def _death(self) -> WorkerDied:
        self.process.join(5)
        return WorkerDied(
            f"{self.process.name} (process {self.process.pid}) died with exit code {self.process.exitcode}: "
            "-9 often means too little memory; lower engine.workers or engine.rows"
        )


def _ready(busy: dict[_Worker, list[int]]) -> list[_Worker]:
    """Waits for workers that have answered or died (a dead worker's pipe reads as ended)."""
    ready = wait([worker.pipe for worker in busy])
    return [worker for worker in busy if worker.pipe in ready]


def _serve(pipe: Connection, open_engine: Callable[[], Engine]) -> None:
    """The main function of a worker: opens its engine, reports None, then answers requests until the pipe ends."""
    import traceback

    exit_with_creator()
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
