"""Checks of Prefect: server, worker, what `active-zero deploy` registers, and the UI's port.

Imports no Prefect and changes nothing: a few requests to the API.
"""

from __future__ import annotations

import socket
import urllib.error
from collections.abc import Callable
from importlib import metadata
from typing import Any

from flows.cli.check import Check
from flows.server.api import POOL
from flows.server.deploy import AUTOMATION, deployment_names
from flows.server.server import HOST, configured_url, local_url, request_api, version_at
from tasks.execution.gpu_slots import limit_name
from tasks.settings.errors import UserError

ADVICE = "run `active-zero deploy`"


def checks() -> dict[str, Callable[[], Check]]:
    """The checks by name; without a running server only those of the port and the server."""
    url = configured_url() or local_url()
    always: dict[str, Callable[[], Check]] = {"port": _port, "prefect server": lambda: _server(url)}
    try:
        if version_at(url, timeout=3) is None:
            return always
    except UserError:  # the check of the server reports it
        return always
    return {
        **always,
        "prefect worker": lambda: _worker(url),
        "prefect deployments": lambda: _deployments(url),
        "prefect limit": lambda: _limit(url),
        "prefect automation": lambda: _automation(url),
    }


def _server(url: str) -> Check:
    name, version, installed = "prefect server", version_at(url, timeout=3), metadata.version("prefect")
    if version is None and configured_url():
        return Check(name, "fail", f"{url} does not answer: start it, or unset PREFECT_API_URL")
    if version is None:
        return Check(name, "warn", "none runs: `iterate` starts a temporary one; run `make ui` to schedule rounds")
    if version != installed:
        return Check(name, "warn", f"{url} is {version}, here is {installed}: use one version")
    return Check(name, "pass", f"{url}, {version}")


def _worker(url: str) -> Check:
    workers = _request(url, f"/work_pools/{POOL}/workers/filter", {})
    if workers is None:
        return Check("prefect worker", "fail", f"no work pool {POOL}: {ADVICE}")
    online = [worker["name"] for worker in workers if worker["status"] == "ONLINE"]
    if online:
        return Check("prefect worker", "pass", f"{len(online)} online in pool {POOL}")
    return Check("prefect worker", "warn", f"none is online: `prefect worker start --pool {POOL}`, or `make ui`")


def _deployments(url: str) -> Check:
    registered = _request(url, "/deployments/filter", {}) or []
    wanted = deployment_names()
    missing = sorted(set(wanted) - {item["name"] for item in registered if item["work_pool_name"] == POOL})
    if missing:
        return Check("prefect deployments", "fail", f"not registered: {', '.join(missing)}: {ADVICE}")
    schedules = [schedule for item in registered for schedule in item["schedules"]]
    active = sum(schedule["active"] for schedule in schedules)
    return Check("prefect deployments", "pass", f"{', '.join(wanted)}; {active} of {len(schedules)} schedules active")


def _limit(url: str) -> Check:
    name = limit_name()
    limit = _request(url, f"/v2/concurrency_limits/{name}")
    if limit is None:
        return Check("prefect limit", "fail", f"no limit {name}, so two runs may use one GPU at once: {ADVICE}")
    return Check("prefect limit", "pass", f"{name}: {limit['active_slots']} of {limit['limit']} in use")


def _automation(url: str) -> Check:
    automations = _request(url, "/automations/filter", {}) or []
    if any(item["name"] == AUTOMATION and item["enabled"] for item in automations):
        return Check("prefect automation", "pass", "a run whose process is gone becomes Crashed")
    return Check("prefect automation", "warn", f"a run whose machine is gone stays Running forever: {ADVICE}")


def _port() -> Check:
    """The port of `make ui`: free, or Prefect's and closed to other machines."""
    url = local_url()
    port = int(url.removesuffix("/api").rpartition(":")[2])
    if version_at(url) is not None:
        if _answers_beyond_loopback(port):
            message = f"Prefect listens on {port} beyond loopback, without a password: start it with --host {HOST}"
            return Check("port", "warn", message)
        return Check("port", "pass", f"Prefect listens on {port} of loopback")
    if _answers(HOST, port):
        return Check("port", "warn", f"{port} is taken by another service: `make ui ARGS='--port {port + 1}'`")
    return Check("port", "pass", f"{port} is free for the UI")


def _answers_beyond_loopback(port: int) -> bool:
    """Whether the port answers at this machine's network address, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only selects the local address
            address = probe.getsockname()[0]
        except OSError:
            return False
    return not address.startswith("127.") and _answers(address, port)


def _answers(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0


def _request(url: str, path: str, body: object = None) -> Any:
    """The API's reply; None for 404."""
    try:
        return request_api(url, path, body)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise
