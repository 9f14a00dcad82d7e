"""The Prefect server of a command: the configured one, the one running on this machine, or a temporary one."""

from __future__ import annotations

import base64
import json
import logging
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

from tasks.execution.processes import child_command
from tasks.settings.errors import UserError

log = logging.getLogger(__name__)

HOST, PORT = "127.0.0.1", 4200
PAGES = "ACTIVE_ZERO_PAGES"
"""Environment variable with the address of the store's pages, where they are served."""
LOOPBACK = (HOST, "localhost", "::1")
"""Hosts that are reached without a proxy, whatever the environment says."""
REFUSALS = (401, 403)
START_SECONDS = 600.0
"""Until a server with a fresh database answers on a busy machine; 10 s is usual."""
STOP_SECONDS = 10.0


def local_url(port: int | None = None) -> str:
    """The API of a server on this machine, by default at the port of `make ui`."""
    return f"http://{HOST}:{port or int(os.environ.get('PREFECT_SERVER_API_PORT') or PORT)}/api"


def configured_url() -> str | None:
    """The API in the environment or the active Prefect profile; None if neither names one."""
    return _prefect_setting("PREFECT_API_URL")


def _prefect_setting(name: str) -> str | None:
    """A setting from the environment or the active profile, read without importing Prefect."""
    if value := os.environ.get(name):
        return value
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    with suppress(OSError, tomllib.TOMLDecodeError):
        profiles = tomllib.loads((home / "profiles.toml").read_text())
        active = os.environ.get("PREFECT_PROFILE") or profiles.get("active")
        return str(profiles["profiles"].get(active, {}).get(name) or "") or None
    return None


def version_at(url: str, timeout: float = 1.0) -> str | None:
    """The version of the Prefect server at `url`; None if none answers. UserError if the server denies access."""
    try:
        return str(request_api(url, "/admin/version", timeout=timeout))
    except urllib.error.HTTPError as error:
        if error.code in REFUSALS:
            raise UserError(
                f"the server at {url} denies access ({error.code}): set PREFECT_API_AUTH_STRING to its "
                "PREFECT_SERVER_API_AUTH_STRING, or PREFECT_API_URL to another server."
            ) from None
    except (OSError, ValueError, HTTPException):
        pass
    return None


def request_api(url: str, path: str, body: object = None, timeout: float = 10.0, method: str | None = None) -> Any:
    """The API's reply to `method`: by default GET, or POST with a body. None for an empty reply.

    Sends Prefect's password or key. Raises what `urllib` raises.
    """
    headers = {"content-type": "application/json"}
    if password := _prefect_setting("PREFECT_API_AUTH_STRING"):
        headers["authorization"] = f"Basic {base64.b64encode(password.encode()).decode()}"
    elif key := _prefect_setting("PREFECT_API_KEY"):
        headers["authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    is_local = urlsplit(url).hostname in LOOPBACK
    opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if is_local else []))
    with opener.open(urllib.request.Request(url + path, data, headers, method=method), timeout=timeout) as reply:
        text = reply.read()
        return json.loads(text) if text else None


@contextmanager
def prefect_server() -> Iterator[Callable[[], None]]:
    """A server for the work inside the block. Yields a function that waits until the server answers.

    Sets `PREFECT_API_URL`, which must happen before Prefect is imported, and removes it at the end. A temporary server
    starts in the background, so imports can go on before the wait. Where Prefect is imported already (a notebook, a
    test), its settings stay.
    """
    if "prefect" in sys.modules or ((url := configured_url()) and _answers(url)):
        yield lambda: None
    elif version_at(local_url()) is not None:
        with _api_url(local_url()):
            yield lambda: None
    else:
        _check_home()
        url = local_url(free_port())
        with _api_url(url), temporary_server(url) as wait_until_ready:
            yield wait_until_ready


def _check_home() -> None:
    """UserError if Prefect cannot write its folder, where the server keeps its database."""
    home = Path(os.environ.get("PREFECT_HOME") or Path("~/.prefect").expanduser())
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        raise UserError(
            f"Prefect's folder {home} cannot be written ({error.strerror}): set PREFECT_HOME to a folder of yours."
        ) from None


def _answers(url: str) -> bool:
    """Whether the configured server answers within two seconds; logs a warning if it does not."""
    if version_at(url, timeout=2.0) is not None:
        return True
    log.warning("the Prefect server at %s does not answer: this run is recorded on this machine alone", url)
    return False


@contextmanager
def temporary_server(url: str) -> Iterator[Callable[[], None]]:
    """A server without UI that ends with this process. Yields a function that waits until the server answers."""
    port = str(urlsplit(url).port)
    # uvicorn would look for modules in the working folder first: see `start_process`
    program = ["-m", "uvicorn", "--app-dir", sysconfig.get_path("purelib")]
    options = ["--host", HOST, "--port", port, "--lifespan", "on", "--log-level", "error"]
    environment = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    command = [sys.executable, *program, "--factory", "prefect.server.api.server:create_app", *options]
    with tempfile.TemporaryFile() as output:
        process = start_process(command, environment, output.fileno())

        def wait_until_ready() -> None:
            try:
                wait_for_server(url, process)
            except RuntimeError as error:
                output.seek(0)
                lines = output.read().decode(errors="replace").splitlines() or ["no output"]
                reason = next((line for line in reversed(lines) if "Error" in line or "Can't" in line), lines[-1])
                advice = "set PREFECT_HOME to an empty folder, or PREFECT_API_URL to a server"
                raise UserError(f"{error}: {reason.strip()[:200]}: {advice}.") from None

        try:
            yield wait_until_ready
        finally:
            end_process(process)


def start_process(
    command: list[str], environment: Mapping[str, str], output: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """Start a process that ends with this one and does not receive Ctrl-C.

    PYTHONSAFEPATH: a file in the user's working folder may have the name of a library's module.
    """
    variables = {**os.environ, "PYTHONSAFEPATH": "1", **environment}
    return subprocess.Popen(child_command(command), env=variables, start_new_session=True, stdout=output, stderr=output)


def wait_for_server(url: str, process: subprocess.Popen[bytes] | None = None) -> None:
    """Return once the server answers. RuntimeError if its process ends first, or after `START_SECONDS`."""
    deadline = time.monotonic() + START_SECONDS
    while version_at(url) is None:
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"the Prefect server ended with exit code {process.returncode}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"the Prefect server at {url} did not answer within {START_SECONDS:.0f} s")
        time.sleep(0.1)


def end_process(process: subprocess.Popen[bytes], seconds: float = STOP_SECONDS) -> None:
    """Terminate a process; kill it if it still runs after `seconds`."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def _api_url(url: str) -> Iterator[None]:
    before = os.environ.get("PREFECT_API_URL")
    os.environ["PREFECT_API_URL"] = url
    try:
        yield
    finally:
        del os.environ["PREFECT_API_URL"]
        if before is not None:
            os.environ["PREFECT_API_URL"] = before
