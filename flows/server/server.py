"""The Prefect server that a command works with: the one that is configured, or runs here, or one for its own time."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tasks.execution.processes import bound
from tasks.settings.errors import UserError

HOST, PORT = "127.0.0.1", 4200
LOOPBACK = (HOST, "localhost", "::1")
"""Where no proxy leads, whatever the environment says."""
REFUSALS = (401, 403)
START_SECONDS = 600.0
"""For a server on a fresh database and a busy machine; 10 s is usual."""
STOP_SECONDS = 10.0


def local_url(port: int | None = None) -> str:
    """The API of a server on this machine; by default where `make ui` has it."""
    return f"http://{HOST}:{port or int(os.environ.get('PREFECT_SERVER_API_PORT') or PORT)}/api"


def configured() -> str | None:
    """The API that the environment or the active Prefect profile names."""
    return _setting("PREFECT_API_URL")


def _setting(name: str) -> str | None:
    """One of Prefect's, without importing it."""
    if value := os.environ.get(name):
        return value
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    with suppress(OSError, tomllib.TOMLDecodeError):
        profiles = tomllib.loads((home / "profiles.toml").read_text())
        active = os.environ.get("PREFECT_PROFILE") or profiles.get("active")
        return str(profiles["profiles"].get(active, {}).get(name) or "") or None
    return None


def version_at(url: str, timeout: float = 1.0) -> str | None:
    """The version of the Prefect server there; None where none answers. UserError where one refuses us."""
    try:
        return str(ask(url, "/admin/version", timeout=timeout))
    except urllib.error.HTTPError as error:
        if error.code in REFUSALS:
            raise UserError(
                f"the server at {url} refuses us ({error.code}): set PREFECT_API_AUTH_STRING to what its "
                "PREFECT_SERVER_API_AUTH_STRING is, or PREFECT_API_URL to another server."
            ) from None
    except (OSError, ValueError, HTTPException):
        pass
    return None


def ask(url: str, path: str, body: object = None, timeout: float = 10.0) -> Any:
    """The API's answer, asked as Prefect's client does: with its password or key. Raises what `urllib` does."""
    headers = {"content-type": "application/json"}
    if word := _setting("PREFECT_API_AUTH_STRING"):
        headers["authorization"] = f"Basic {base64.b64encode(word.encode()).decode()}"
    elif key := _setting("PREFECT_API_KEY"):
        headers["authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    here = urlsplit(url).hostname in LOOPBACK
    opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if here else []))
    with opener.open(urllib.request.Request(url + path, data, headers), timeout=timeout) as reply:
        return json.load(reply)


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
        with _chosen(url), temporary(url) as ready:
            yield ready


@contextmanager
def temporary(url: str) -> Iterator[Callable[[], None]]:
    """A server without pages; gives what waits until it answers. It leaves with this process, however that one ends."""
    port = str(urlsplit(url).port)
    # uvicorn would look for modules in the present folder first: see `started`
    program = ["-m", "uvicorn", "--app-dir", sysconfig.get_path("purelib")]
    options = ["--host", HOST, "--port", port, "--lifespan", "on", "--log-level", "error"]
    environment = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    command = [sys.executable, *program, "--factory", "prefect.server.api.server:create_app", *options]
    with tempfile.TemporaryFile() as said:
        process = started(command, environment, said.fileno())

        def ready() -> None:
            try:
                wait_for(url, process)
            except RuntimeError as error:
                said.seek(0)
                lines = said.read().decode(errors="replace").splitlines() or ["it said nothing"]
                raise RuntimeError(f"{error}: {lines[-1]}") from None

        try:
            yield ready
        finally:
            end(process)


def started(
    command: list[str], environment: Mapping[str, str], output: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """A process that leaves with this one, and which Ctrl-C does not reach. It imports nothing from the folder that a
    person happens to be in: a file of theirs may be called as one of a library's."""
    whole = {**os.environ, "PYTHONSAFEPATH": "1", **environment}
    return subprocess.Popen(bound(command), env=whole, start_new_session=True, stdout=output, stderr=output)


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
