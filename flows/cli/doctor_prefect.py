"""The doctor's look at Prefect: server, worker, what `active-zero deploy` registers, and the port of the UI.

Nothing of Prefect is imported, and nothing is changed: a few requests to the API.
"""

from __future__ import annotations

import socket
import urllib.error
from collections.abc import Callable
from importlib import metadata
from typing import Any

from flows.cli.check import Check
from flows.server.deploy import POOL, ZOMBIES, deployments
from flows.server.server import HOST, ask, configured, local_url, version_at
from tasks.execution.stage import GPU
from tasks.settings.errors import UserError

DEPLOY = "run `active-zero deploy`"


def checks() -> dict[str, Callable[[], Check]]:
    """By name. Without a server there is nothing to look at but the port."""
    url = configured() or local_url()
    here: dict[str, Callable[[], Check]] = {"port": _port, "prefect server": lambda: _server(url)}
    try:
        if version_at(url, timeout=3) is None:
            return here
    except UserError:  # which the first look tells again
        return here
    return {
        **here,
        "prefect worker": lambda: _worker(url),
        "prefect deployments": lambda: _deployments(url),
        "prefect limit": lambda: _limit(url),
        "prefect automation": lambda: _automation(url),
    }


def _server(url: str) -> Check:
    name, version, ours = "prefect server", version_at(url, timeout=3), metadata.version("prefect")
    if version is None and configured():
        return Check(name, "fail", f"{url} does not answer: start it, or unset PREFECT_API_URL")
    if version is None:
        return Check(name, "warn", "none runs: `iterate` starts one for its own time; `make ui` to schedule rounds")
    if version != ours:
        return Check(name, "warn", f"{url} is {version}, here is {ours}: use one version")
    return Check(name, "pass", f"{url}, {version}")


def _worker(url: str) -> Check:
    found = _ask(url, f"/work_pools/{POOL}/workers/filter", {})
    if found is None:
        return Check("prefect worker", "fail", f"no work pool {POOL}: {DEPLOY}")
    online = [one["name"] for one in found if one["status"] == "ONLINE"]
    if online:
        return Check("prefect worker", "pass", f"{len(online)} online in pool {POOL}")
    return Check("prefect worker", "warn", f"none is online: `prefect worker start --pool {POOL}`, or `make ui`")


def _deployments(url: str) -> Check:
    found = _ask(url, "/deployments/filter", {}) or []
    missing = sorted(set(deployments()) - {one["name"] for one in found if one["work_pool_name"] == POOL})
    if missing:
        return Check("prefect deployments", "fail", f"not registered: {', '.join(missing)}: {DEPLOY}")
    plans = [plan for one in found for plan in one["schedules"]]
    active = sum(plan["active"] for plan in plans)
    return Check(
        "prefect deployments", "pass", f"{', '.join(deployments())}; {active} of {len(plans)} schedules active"
    )


def _limit(url: str) -> Check:
    limit = _ask(url, f"/v2/concurrency_limits/{GPU}")
    if limit is None:
        return Check("prefect limit", "fail", f"no limit {GPU}, so two runs may take one GPU at once: {DEPLOY}")
    return Check("prefect limit", "pass", f"{GPU}: {limit['active_slots']} of {limit['limit']} in use")


def _automation(url: str) -> Check:
    found = _ask(url, "/automations/filter", {}) or []
    if any(one["name"] == ZOMBIES and one["enabled"] for one in found):
        return Check("prefect automation", "pass", "a run whose process is gone becomes Crashed")
    return Check("prefect automation", "warn", f"a run whose machine is gone stays Running for ever: {DEPLOY}")


def _port() -> Check:
    """The port of `make ui`: free, or Prefect's, and not open to other machines."""
    url = local_url()
    port = int(url.removesuffix("/api").rpartition(":")[2])
    if version_at(url) is None:
        with socket.socket() as one:
            if one.connect_ex((HOST, port)) == 0:
                return Check("port", "warn", f"{port} is taken by something else: `make ui ARGS='--port {port + 1}'`")
        return Check("port", "pass", f"{port} is free for the UI")
    if _reached_from_outside(port):
        return Check(
            "port", "warn", f"Prefect listens on {port} beyond loopback, and asks for no password: --host {HOST}"
        )
    return Check("port", "pass", f"Prefect listens on {port} of loopback")


def _reached_from_outside(port: int) -> bool:
    """Whether the port answers at the address that other machines know, if there is one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect(("192.0.2.1", 9))  # nothing is sent: this only chooses an address
            address = one.getsockname()[0]
        except OSError:
            return False
    with socket.socket() as one:
        one.settimeout(1)
        return not address.startswith("127.") and one.connect_ex((address, port)) == 0


def _ask(url: str, path: str, body: object = None) -> Any:
    """The API's answer; None for what is not there."""
    try:
        return ask(url, path, body)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise
