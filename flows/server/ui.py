"""The Prefect UI on loopback, with server, worker and deployments, until Ctrl-C: `active-zero ui`.

Server and worker end with this process, however it ends. The worker first ends its runs; they become Crashed, and Retry
resumes them. Runs that were killed with an earlier worker are settled before the worker starts, and while it works.
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

import psutil

from flows.server.api import POOL, Api
from flows.server.queue import tidy_queue
from flows.server.server import HOST, PAGES, end_process, local_url, start_process, version_at, wait_for_server
from flows.server.settle import is_engine, settle
from tasks.execution.processes import become_subreaper, reap_others
from tasks.settings.errors import UserError
from tasks.store import Store

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
RUN_SECONDS = 20.0
"""For a run to tell the server that it ends."""
UNHEARD_SECONDS = 10.0
"""For runs, and then for their worker, to end where the server is gone."""
WORKER_SECONDS = 60.0
"""For a worker to end: Prefect gives each of its runs 30 s to clean up."""
ORDER_SECONDS = 10.0
"""Between two times that dead runs are settled and the queue is tidied."""
SERVER = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
}
WORKER = {"PREFECT_WORKER_QUERY_SECONDS": "2", "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO"}


def serve(port: int, pages_port: int, log: Path, report: Callable[[str], None]) -> None:
    """Start server and worker, `report` the address, and wait for Ctrl-C.

    UserError if the port is taken; RuntimeError if the server or the worker ends by itself.
    """
    url = local_url(port)
    if (version := version_at(url)) is not None:
        raise UserError(f"a Prefect server ({version}) runs at {url} already: open it, or give another --port.")
    check_port(port)
    check_port(pages_port, "--pages-port")
    environment = {
        **SERVER,
        "PREFECT_API_URL": url,
        "ACTIVE_ZERO_STORE": Store.from_environment().url,
        PAGES: f"http://{HOST}:{pages_port}",
    }
    log.parent.mkdir(parents=True, exist_ok=True)
    with _signals_as_ctrl_c(), _descendants_killed(), log.open("ab") as output, ExitStack() as stack:
        server = stack.enter_context(_server(port, environment, output))
        pages = stack.enter_context(_pages(pages_port, environment, output))
        wait_for_server(url, server)
        _deploy(environment)
        for line in _kept_in_order(Api(url)):
            report(line)
        worker = stack.enter_context(_worker({**environment, **WORKER}, output))
        store = environment["ACTIVE_ZERO_STORE"]
        report(f"Pages of the store: {environment[PAGES]}")
        report(f"Prefect UI: http://{HOST}:{port} (store {store}, log {log}); Ctrl-C ends it")
        sys.stdout.flush()
        orderly = time.monotonic()
        while server.poll() is None and worker.poll() is None:
            time.sleep(0.5)
            reap_others({server.pid, worker.pid, pages.pid})
            if time.monotonic() - orderly > ORDER_SECONDS:
                output.writelines(f"{line}\n".encode() for line in _kept_in_order(Api(url)))
                orderly = time.monotonic()
        if server.poll() is not None:  # nobody can be told how the runs end
            _end_runs(worker, UNHEARD_SECONDS)
            end_process(worker, UNHEARD_SECONDS)
            raise RuntimeError(f"the server ended by itself, see {log}")
        raise RuntimeError(f"the worker ended by itself, see {log}")


def _kept_in_order(api: Api) -> list[str]:
    """Settle dead runs and tidy the queue; one line for each change. A server that does not answer is asked again."""
    try:
        return [*settle(api, local=True), *tidy_queue(api)]  # only processes of this machine reach a loopback server
    except OSError as error:
        return [f"the queue was not tidied: {error}"]


def check_port(port: int, option: str = "--port") -> None:
    """UserError if another service listens on the port that this option names."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: closed connections linger
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UserError(
                f"port {port} of {HOST} is taken by another service ({error.strerror}): give another {option}."
            ) from None


@contextmanager
def _server(port: int, environment: dict[str, str], output: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]
    variables = {**environment, "PREFECT_API_URL": "", "PREFECT_UI_API_URL": local_url(port)}
    process = start_process(command, variables, output.fileno())
    try:
        yield process
    finally:
        end_process(process)


@contextmanager
def _pages(port: int, environment: dict[str, str], output: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The store's pages, in a process of their own: making one must not delay what this process keeps in order."""
    command = [sys.executable, "-m", "flows.cli", "ui", "--store-only", "--pages-port", str(port)]
    process = start_process(command, environment, output.fileno())
    try:
        yield process
    finally:
        end_process(process)


@contextmanager
def _worker(environment: dict[str, str], output: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """A worker. At the end its runs end first, while the server can still hear it."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
    process = start_process(command, environment, output.fileno())
    try:
        yield process
    finally:
        _end_runs(process)
        end_process(process, WORKER_SECONDS)


def _end_runs(worker: subprocess.Popen[bytes], seconds: float = RUN_SECONDS) -> None:
    """Terminate the worker's runs and wait, at most so many seconds, until they have reported it.

    The worker is halted: it starts no other.
    """
    with suppress(psutil.NoSuchProcess):  # the worker has ended by itself
        below = psutil.Process(worker.pid).children(recursive=True)
        worker.send_signal(signal.SIGSTOP)
        engines = [process for process in below if is_engine(process)]
        for engine in engines:
            with suppress(psutil.NoSuchProcess):
                engine.terminate()
        deadline = time.monotonic() + seconds
        while any(map(is_engine, engines)) and time.monotonic() < deadline:
            time.sleep(0.1)
        worker.send_signal(signal.SIGCONT)


@contextmanager
def _descendants_killed() -> Iterator[None]:
    """At the end, kill all processes below this one: a worker may have started a run while it was ending."""
    become_subreaper()
    try:
        yield
    finally:
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()


def _deploy(environment: dict[str, str]) -> None:
    """Run `active-zero deploy` in its own process, since Prefect reads its settings once."""
    command = [sys.executable, "-m", "flows.cli", "deploy"]
    subprocess.run(command, env={**os.environ, **environment}, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def _signals_as_ctrl_c() -> Iterator[None]:
    """Let SIGTERM and SIGHUP act as Ctrl-C; and Ctrl-C itself where a shell made it ignored (`&`)."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
