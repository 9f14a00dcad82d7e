"""Long work of a command: a log file, progress on standard error, and a Prefect server that prints nothing.

Prefect reads its settings from the environment when it is imported, so `prepare` sets them first; variables that the
user has set win. Flow runs appear at the configured server (`PREFECT_API_URL`, a profile) or at the one of `make ui` on
this machine; without either, a temporary server is started (`flows/server/server.py`).
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_cache_path

from flows.cli.console import errors
from flows.cli.progress_bars import watching
from flows.cli.session import Session
from flows.server.server import HOST, LOOPBACK, prefect_server

if TYPE_CHECKING:
    from rich.console import Console

ENVIRONMENT = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # Prefect's lines go to the log file and to the server
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "600",  # a fresh database on a busy machine takes minutes
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # seconds; the zombie automation waits for four of them
    "PREFECT_API_REQUEST_TIMEOUT": "15",  # seconds; a mute server costs one of them, a busy one is asked again
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",  # without a network it logs ten retries before it fails
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "VLLM_LOGGING_LEVEL": "ERROR",  # it logs hundreds of lines at every start
    "TOKENIZERS_PARALLELISM": "false",  # warns whenever a process forks
}
OUR_FOLDERS = (str(Path(__file__).parents[2] / "flows"), str(Path(__file__).parents[2] / "tasks"))

DRAIN_SECONDS = 10.0


def prepare() -> None:
    """Set the environment. Call it before importing anything that reads the environment."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    no_proxy = (os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or HOST).split(",")
    # Prefect's client would send requests to loopback through a proxy, too
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(dict.fromkeys([*no_proxy, *LOOPBACK]))
    logging.getLogger("tasks").addHandler(logging.NullHandler())  # else Python prints warnings where nothing is logged


@contextmanager
def working(session: Session, command: str, preload: str = "prefect") -> Iterator[None]:
    """Run long work inside this block, with a log file and progress. Standard output is kept for results.

    `command` begins the log file's name; the module `preload` is imported while a temporary server starts.
    """
    console = errors()
    with (
        prefect_server() as wait_until_ready,
        logging_to(_new_log_file(session, command), console, session.verbose),
        redirect_stdout(sys.stderr),
        watching(console),
    ):
        import_module(preload)
        wait_until_ready()
        from flows.cli.local_runs import server_is_gone, watching_the_server

        try:
            with watching_the_server():
                yield
        finally:
            if not server_is_gone():
                _drain()


def _drain() -> None:
    """Send Prefect's queued logs and events while the server still runs; else its threads retry for a minute."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=DRAIN_SECONDS)


@contextmanager
def logging_to(path: Path, console: Console, verbose: bool) -> Iterator[None]:
    """Log everything to the file, and this project's lines (with `verbose` all lines) to the console."""
    import prefect  # noqa: F401  # its import closes all handlers, so it comes first

    file, lines = logging.FileHandler(path, encoding="utf-8"), ConsoleLines(console, verbose)
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    root = logging.getLogger()
    for handler in (file, lines):
        root.addHandler(handler)
    for name in ("flows", "tasks"):
        logging.getLogger(name).setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for handler in (file, lines):
            root.removeHandler(handler)
            handler.close()


class ConsoleLines(logging.Handler):
    """Prints this project's log lines above the progress bars, equal lines once: each opening of a corpus logs that its
    shards are reused. The URL at the end of a stage's line is cut off; the log file has it. With `verbose`, prints
    every line as it is."""

    def __init__(self, console: Console, verbose: bool) -> None:
        super().__init__(logging.INFO)
        self._console, self._verbose = console, verbose
        self._printed: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage() if self._verbose else _without_url(record.getMessage())
        if self._verbose or (record.pathname.startswith(OUR_FOLDERS) and line not in self._printed):
            self._printed.add(line)
            self._console.print(line, markup=False)


def _without_url(message: str) -> str:
    """Replace the artifact's URL by its round: `8-evaluate: 624 rows in 9.1 s (round 0)`."""
    in_round = re.sub(r" at \w+://\S+/round-(\d+)/\S+$", lambda match: f" (round {int(match[1])})", message)
    return re.sub(r" at \w+://\S+$", "", in_round)


def _new_log_file(session: Session, command: str) -> Path:
    log_folder().mkdir(parents=True, exist_ok=True)
    session.log_file = log_folder() / f"{command}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}.log"
    return session.log_file


def log_folder() -> Path:
    """The folder of the command line's log files."""
    return user_cache_path("active-zero") / "logs"
