"""The Ray cluster that this process uses: the one at RAY_ADDRESS, or one that is started here."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import time
from typing import Any

from tasks.engines.replica_logs import log_notes_of_ray
from tasks.settings.errors import UserError

CONNECT = 10.0
"""Seconds for the head of a cluster to accept a connection."""
LOST = 20.0
"""Seconds without an answer after which the head is lost. After 60 Ray ends this process from inside."""


def connect() -> tuple[Any, bool]:
    """Ray, connected to the cluster at RAY_ADDRESS or one started here; and whether this call started it."""
    address = os.environ.get("RAY_ADDRESS") or "local"
    if address == "local" and "RAY_AUTH_MODE" not in os.environ and "ray" not in sys.modules:
        # Ray reads these once. Without them it writes a token into ~/.ray, for later clusters too, and warns.
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    try:
        import ray
    except ImportError:
        raise UserError("engine ray needs Ray: install the extra `ray` (pip install 'active-zero[ray]').") from None
    log_notes_of_ray()
    if ray.is_initialized():
        return ray, False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    check_listening(address)
    try:
        ray.init(address, log_to_driver=False, include_dashboard=False, configure_logging=False)
    except ConnectionError as error:
        advice = "this machine needs a node of the cluster (infra/ray-driver.sh) and its RAY_AUTH_TOKEN"
        raise UserError(f"the Ray cluster at RAY_ADDRESS={address} cannot be used: {error}; {advice}") from error
    return ray, True


def check_listening(address: str) -> None:
    """UserError where nothing listens at `host:port`. Ray itself would try for ten minutes."""
    host, _, port = address.rpartition(":")
    if not port.isdigit() or "://" in host:  # `local`, `auto`, or Ray's client
        return
    try:
        socket.create_connection((host, int(port)), CONNECT).close()
    except OSError as error:
        raise UserError(f"no Ray cluster answers at RAY_ADDRESS={address}: {error}") from None


class Head:
    """The head of the connected cluster."""

    def __init__(self, ray: Any) -> None:
        self._address: str = ray.get_runtime_context().gcs_address
        self._silent_since: float | None = None

    def answers(self) -> bool:
        """Whether it answers. `UserError` after `LOST` seconds without an answer. To be called every few seconds.

        While it does not, calls of Ray that ask it wait for ever.
        """
        try:
            check_listening(self._address)
        except UserError:
            now = time.monotonic()
            self._silent_since = self._silent_since or now
            if now - self._silent_since > LOST:
                raise UserError(
                    f"the head of the Ray cluster at {self._address} does not answer any more: start it again; "
                    "the same command resumes."
                ) from None
            return False
        self._silent_since = None
        return True
