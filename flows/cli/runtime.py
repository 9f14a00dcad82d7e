"""Long work under the command line: its log in a file, its progress on standard error, Prefect kept quiet.

Prefect reads its settings from the environment when it is imported, so `prepare` sets them first; what a person has set
already stays. Runs appear in the server that is configured (`PREFECT_API_URL`, a profile) or runs on this machine
(`make ui`); without either, one is started for the time of the work (`flows/server/server.py`).
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
from flows.server.server import HOST, LOOPBACK, server

if TYPE_CHECKING:
    from rich.console import Console

ENVIRONMENT = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # its lines go to the log file and to the server
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "600",  # a fresh database on a busy machine takes minutes
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # seconds; the zombie automation waits for four of them
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",  # without a network it says ten times that it tries again, then fails
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "VLLM_LOGGING_LEVEL": "ERROR",  # it says hundreds of lines at every start
    "TOKENIZERS_PARALLELISM": "false",  # warns whenever a process forks
}
OURS = (str(Path(__file__).parents[2] / "flows"), str(Path(__file__).parents[2] / "tasks"))

HAND_OVER_SECONDS = 10.0
verbose = False
"""`--verbose`: everything that is logged is shown, and errors with their traceback."""
log_file: Path | None = None
"""The log of the work that was started last."""


def prepare() -> None:
    """Called before anything is imported that reads the environment."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    past = (os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or HOST).split(",")
    # Prefect's client would ask a proxy for loopback too
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(dict.fromkeys([*past, *LOOPBACK]))
    logging.getLogger("tasks").addHandler(logging.NullHandler())  # else warnings are printed where nobody logs


@contextmanager
def working(command: str, program: str = "prefect") -> Iterator[None]:
    """Around everything that takes more than moments; `program` is imported while a server starts, if one has to.

    Standard output is kept for results.
    """
    console = errors()
    with server() as ready, logging_to(_new_log(command), console), redirect_stdout(sys.stderr), watching(console):
        import_module(program)
        ready()
        try:
            yield
        finally:
            _hand_over()


def _hand_over() -> None:
    """What Prefect has yet to tell the server goes there before that one leaves: else its threads try for a minute."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=HAND_OVER_SECONDS)


@contextmanager
def logging_to(path: Path, console: Console) -> Iterator[None]:
    """Everything to the file; our own lines (all, if verbose) to the console."""
    import prefect  # noqa: F401  # closes all handlers when it is imported, so it comes first

    file, lines = logging.FileHandler(path, encoding="utf-8"), Lines(console)
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


class Lines(logging.Handler):
    """Our own log lines above the bars, each once: every opening of a corpus says that its shards are reused.

    The place that a stage's line ends in stays in the log file.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self._console = console
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        line = _short(record.getMessage())
        if verbose or (record.pathname.startswith(OURS) and line not in self._said):
            self._said.add(line)
            self._console.print(line, markup=False)


def _short(message: str) -> str:
    """Of where a stage's artifact lies, only the round: `8-evaluate: 624 rows in 9.1 s (round 0)`."""
    if verbose:
        return message
    in_round = re.sub(r" at \w+://\S+/round-(\d+)/\S+$", lambda found: f" (round {int(found[1])})", message)
    return re.sub(r" at \w+://\S+$", "", in_round)


def _new_log(command: str) -> Path:
    global log_file
    log_folder().mkdir(parents=True, exist_ok=True)
    log_file = log_folder() / f"{command}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}.log"
    return log_file


def log_folder() -> Path:
    """Where logs of the command line go."""
    return user_cache_path("active-zero") / "logs"
