"""`active-zero ui`: the Prefect UI with everything behind it, on loopback, until Ctrl-C.

Server and worker leave with this process, however it ends; a worker that leaves ends its runs first, which are Crashed
then, and Retry plays them on.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn

from flows.server.deploy import POOL
from flows.server.server import HOST, end, local_url, started, version_at, wait_for
from tasks.execution.processes import adopt, reap_but
from tasks.settings.errors import UserError
from tasks.store import Store

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WORKER_SECONDS = 60.0
"""For a worker to end its runs: Prefect leaves each 30 s to tidy up."""
SERVER = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
}
WORKER = {"PREFECT_WORKER_QUERY_SECONDS": "2", "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO"}


def serve(port: int, log: Path, say: Callable[[str], None]) -> None:
    """Start all, say where, and wait for Ctrl-C or the end of either process. UserError where the port is taken."""
    url = local_url(port)
    if (version := version_at(url)) is not None:
        raise UserError(f"a Prefect server ({version}) runs at {url} already: open it, or give another --port.")
    _refuse_taken(port)
    environment = {**SERVER, "PREFECT_API_URL": url, "ACTIVE_ZERO_STORE": Store.from_environment().url}
    log.parent.mkdir(parents=True, exist_ok=True)
    with _stopped_by_signals(), _nothing_left(), log.open("ab") as output, ExitStack() as stack:
        server = stack.enter_context(_server(port, environment, output))
        wait_for(url, server)
        _deploy(environment)
        worker = stack.enter_context(_worker({**environment, **WORKER}, output))
        say(f"Prefect UI: http://{HOST}:{port} (store {environment['ACTIVE_ZERO_STORE']}, log {log}); Ctrl-C ends it")
        sys.stdout.flush()
        while server.poll() is None and worker.poll() is None:
            time.sleep(0.5)
            reap_but({server.pid, worker.pid})
        raise RuntimeError(f"{'the server' if worker.poll() is None else 'the worker'} ended by itself, see {log}")


def _refuse_taken(port: int) -> None:
    """UserError where no server can listen on the port: another service does."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: closed connections linger
        try:
            one.bind((HOST, port))
        except OSError as error:
            raise UserError(
                f"port {port} of {HOST} is taken by something else ({error.strerror}): give another --port."
            ) from None


@contextmanager
def _server(port: int, environment: dict[str, str], output: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]
    process = started(
        command, {**environment, "PREFECT_API_URL": "", "PREFECT_UI_API_URL": local_url(port)}, output.fileno()
    )
    try:
        yield process
    finally:
        end(process)


@contextmanager
def _worker(environment: dict[str, str], output: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """A worker; at its end it ends its runs."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
    process = started(command, environment, output.fileno())
    try:
        yield process
    finally:
        end(process, WORKER_SECONDS)


@contextmanager
def _nothing_left() -> Iterator[None]:
    """At the end no process below this one is left: a worker may have started a run while it was leaving."""
    import psutil

    adopt()
    try:
        yield
    finally:
        for one in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                one.kill()


def _deploy(environment: dict[str, str]) -> None:
    """In a process of its own: Prefect reads its settings once."""
    command = [sys.executable, "-m", "flows.cli", "deploy"]
    subprocess.run(command, env={**os.environ, **environment}, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end it as Ctrl-C does; that one also where a shell has told it to be ignored (`&`)."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
