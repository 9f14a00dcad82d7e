"""Slots of a Prefect limit on GPUs: rounds that would use the same GPUs take turns.

The limit is `gpu`, with one slot for the GPU of one machine. A Ray cluster with a name (`ACTIVE_ZERO_CLUSTER`) has a
limit of its own, `gpu-NAME`, with a slot for each of its GPUs; a round takes as many as it uses.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from tasks.execution.flow_context import in_flow_run, run_log
from tasks.settings.errors import UserError

CLUSTER = "ACTIVE_ZERO_CLUSTER"
LEASE = 60.0
"""Seconds after which the server frees the slots of a process that was killed."""

Gpus = int | Literal["all"]

_used: ContextVar[Gpus | None] = ContextVar("gpus", default=None)


def limit_name() -> str:
    """The limit of the cluster that ACTIVE_ZERO_CLUSTER names, or else that of a machine's own GPU."""
    cluster = os.environ.get(CLUSTER, "")
    if not re.fullmatch(r"[a-zA-Z0-9_-]*", cluster):
        raise UserError(f"{CLUSTER}={cluster} is no name of a cluster: use letters, digits, - and _")
    return f"gpu-{cluster}" if cluster else "gpu"


@contextmanager
def using_gpus(gpus: Gpus | None) -> Iterator[None]:
    """What is played in this block uses so many GPUs of a cluster. None: this machine's own, if it has one."""
    token = _used.set(gpus)
    try:
        yield
    finally:
        _used.reset(token)


@contextmanager
def gpu_slots() -> Iterator[None]:
    """Wait for the slots of the GPUs that are used here: in a flow run, and where the server has the limit.

    A round keeps them, because its engines stay on the GPUs between its stages. One that uses more GPUs than there are
    slots takes them all.
    """
    wanted = _used.get()
    if wanted is None:
        wanted = 1 if _has_gpu() else 0
    limit = _slots_of(limit_name()) if wanted and in_flow_run() else None
    if limit is None:
        yield
        return
    from prefect.concurrency.sync import concurrency

    slots = limit if wanted == "all" else min(wanted, limit)
    run_log().info("waits for %d of the %d slots of the limit %s", slots, limit, limit_name())
    with concurrency(limit_name(), occupy=slots, lease_duration=LEASE):
        yield


def _slots_of(name: str) -> int | None:
    """The server's limit of that name, at least 1; None where there is none."""
    from prefect import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            return max(1, client.read_global_concurrency_limit_by_name(name).limit)
        except ObjectNotFound:
            return None


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
