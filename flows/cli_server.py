"""The Prefect server that a command works with: the one that is configured, or runs here, or one for its own time."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from tasks.orphans import bound

HOST, PORT = "127.0.0.1", 4200
START_SECONDS = 600.0
"""For a server on a fresh database and a busy machine; 10 s is usual."""
STOP_SECONDS = 10.0


def local_url(port: int | None = None) -> str:
    """The API of a server on this machine; by default where `make ui` has it."""
    return f"http://{HOST}:{port or int(os.environ.get('PREFECT_SERVER_API_PORT') or PORT)}/api"


def configured() -> str | None:
    """The API that the environment or the active Prefect profile names."""
    if url := os.environ.get("PREFECT_API_URL"):
        return url
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    with suppress(OSError, tomllib.TOMLDecodeError):
        profiles = tomllib.loads((home / "profiles.toml").read_text())
        active = os.environ.get("PREFECT_PROFILE") or profiles.get("active")
        return str(profiles["profiles"].get(active, {}).get("PREFECT_API_URL") or "") or None
    return None


def version_at(url: str, timeout: float = 1.0) -> str | None:
    """The version of the Prefect server there; None where none answers."""
    with suppress(OSError, ValueError), urllib.request.urlopen(f"{url}/admin/version", timeout=timeout) as reply:
        return str(json.load(reply))
    return None


@contextmanager
def server() -> Iterator[Callable[[], None]]:
    """A server for what is done inside: `PREFECT_API_URL` is set before Prefect reads it, and taken back at the end.

    Gives what waits until the server is there: it starts beside whatever is imported before that is called. Where
    Prefect has been imported already (a notebook, a test), whoever did so has chosen.
    """
    if configured() or "prefect" in sys.modules:
        yield lambda: None
    elif version_at(local_url()) is not None:
        with _chosen(local_url()):
            yield lambda: None
    else:
        url = local_url(free_port())
        with _chosen(url), temporary(url) as process:
            yield lambda: wait_for(url, process)


@contextmanager
def temporary(url: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server without pages. It leaves with this process, however that one ends."""
    port = str(urlsplit(url).port)
    arguments = ["-m", "uvicorn", "--factory", "prefect.server.api.server:create_app", "--log-level", "error"]
    environment = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    process = started([sys.executable, *arguments, "--host", HOST, "--port", port, "--lifespan", "on"], environment)
    try:
        yield process
    finally:
        end(process)


def started(
    command: list[str], environment: Mapping[str, str], output: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """A process that leaves with this one, and which Ctrl-C does not reach."""
    return subprocess.Popen(
        bound(command), env={**os.environ, **environment}, start_new_session=True, stdout=output, stderr=output
    )


def wait_for(url: str, process: subprocess.Popen[bytes] | None = None) -> None:
    """Return once the server answers. RuntimeError where its process ends before, or the time does."""
    end = time.monotonic() + START_SECONDS
    while version_at(url) is None:
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"the Prefect server ended with exit code {process.returncode}")
        if time.monotonic() > end:
            raise RuntimeError(f"the Prefect server at {url} did not answer within {START_SECONDS:.0f} s")
        time.sleep(0.1)


def end(process: subprocess.Popen[bytes], seconds: float = STOP_SECONDS) -> None:
    """Ask it to leave, and after the seconds make it."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as one:
        one.bind((HOST, 0))
        return int(one.getsockname()[1])


@contextmanager
def _chosen(url: str) -> Iterator[None]:
    os.environ["PREFECT_API_URL"] = url
    try:
        yield
    finally:
        del os.environ["PREFECT_API_URL"]
