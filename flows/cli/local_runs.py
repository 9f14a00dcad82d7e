"""Flow runs of a local command: the work counts, whether or not a Prefect server records it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec

from prefect import Flow
from prefect.settings import PREFECT_API_URL, get_current_settings

from flows.server.server import version_at

P = ParamSpec("P")

EVERY = 2.0
"""Seconds between two looks at the server."""
PATIENCE = 3
"""Looks without an answer after which the server counts as gone. A busy server answers late."""

log = logging.getLogger(__name__)
_gone = threading.Event()


def run_flow(flow: Flow[P, Any], *args: P.args, **kwargs: P.kwargs) -> Any:
    """The result of a flow. Where the server fails to record it, the work's own result or error counts.

    A flow whose run the server does not accept at all is called as the plain function that it is.
    """
    outcome: list[Callable[[], Any]] = []

    @wraps(flow.fn)
    def work(*args: P.args, **kwargs: P.kwargs) -> Any:
        try:
            result = flow.fn(*args, **kwargs)
        except BaseException as error:
            outcome.append(_raising(error))
            raise
        outcome.append(lambda: result)
        return result

    recorded = flow.with_options(validate_parameters=False)  # the parameters are objects of this process
    recorded.fn = work
    try:
        return recorded(*args, **kwargs)
    except Exception as error:
        if not outcome:
            _tell_gone(f"it does not accept the run ({type(error).__name__})")
            return flow.fn(*args, **kwargs)
        result = outcome[0]()  # raises the work's own error
        _tell_gone(f"it did not record how the run ended ({type(error).__name__})")
        return getattr(result, "data", result)


def _raising(error: BaseException) -> Callable[[], Any]:
    def again() -> Any:
        raise error

    return again


@contextmanager
def watching_the_server() -> Iterator[None]:
    """Look at the server for the time of the block. Once it is gone, nothing waits for it any more.

    Prefect's own lines about requests that fail are turned off: the one warning says it.
    """
    logging.getLogger("prefect._internal").setLevel(logging.CRITICAL)
    logging.raiseExceptions = False
    ended = threading.Event()
    url = PREFECT_API_URL.value()

    def watch() -> None:
        missed = 0
        while not ended.wait(EVERY):
            missed = 0 if version_at(url, timeout=EVERY) else missed + 1
            if missed == PATIENCE:
                _tell_gone("it does not answer any more")
                return

    thread = threading.Thread(target=watch, name="server watch", daemon=True)
    if url:
        thread.start()
    try:
        yield
    finally:
        ended.set()


def server_is_gone() -> bool:
    """Whether this process has given up on its server."""
    return _gone.is_set()


def _tell_gone(why: str) -> None:
    """Say once that the server is gone, and ask nothing of it any more: each request would be retried for a minute."""
    if _gone.is_set():
        return
    _gone.set()
    settings = get_current_settings()
    settings.client.max_retries = 0
    settings.api.request_timeout = 1.0
    settings.logging.to_api.enabled = False
    log.warning("the work goes on without the Prefect server at %s: %s; its page is not up to date", _url(), why)


def _url() -> str:
    return str(PREFECT_API_URL.value() or "this machine")
