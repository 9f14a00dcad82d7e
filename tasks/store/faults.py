"""Retries of store requests: growing random pauses, one deadline, then one clear error.

Every request that can fail for a moment goes through `with_retries`. A pause is drawn at random below a bound that
doubles up to a cap ("full jitter": clients that were refused together do not come back together), and all attempts
share one deadline. Each retry is counted and logged, and a stage logs the count when it ends.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_before_delay, wait_random_exponential

T = TypeVar("T")

log = logging.getLogger(__name__)

WAIT = wait_random_exponential(multiplier=0.2, max=10.0)
"""Seconds before the retries: at most 0.2, 0.4, 0.8, ... 10."""
DEADLINE = 120.0
"""Seconds from the first attempt to the last. `ACTIVE_ZERO_STORE_DEADLINE` overrides it."""

TRANSIENT_ERRNOS = {
    errno.EAGAIN, errno.EBUSY, errno.ECONNRESET, errno.ECONNREFUSED, errno.EPIPE, errno.ETIMEDOUT, errno.EREMOTEIO,
}  # fmt: skip
TRANSIENT_CODES = {"RequestTimeout", "BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "OperationAborted"}
"""S3 error codes below 500 that a bad connection causes. Throttling is 503 or 429."""
ANSWERS = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)
"""Exceptions that say what exists: answers of a working store, never retried and never wrapped."""

NO_LINKS = "a disk without hard links, or without permission: set ACTIVE_ZERO_STORE to another disk or to an S3 server"
"""A commit on a disk is a hard link, because only one of several processes can create it; FAT and some network disks
have no hard links."""
HINTS = {
    errno.ENOSPC: "make room on the disk, and run again",
    errno.EDQUOT: "make room in the quota, and run again",
    errno.EFBIG: "the file is larger than this file system or process may write",
    errno.EROFS: "the store is read-only: make it writable, or set ACTIVE_ZERO_STORE",
    errno.EACCES: "no permission to write: change it, or set ACTIVE_ZERO_STORE",
    errno.EPERM: NO_LINKS,
    errno.EOPNOTSUPP: NO_LINKS,
}

_counting = threading.Lock()
_retries = 0


class StoreFault(Exception):
    """A store request failed for good. The message names the object, the endpoint, and what to do."""


def deadline() -> float:
    """Seconds that a request may take with all its attempts."""
    return float(os.environ.get("ACTIVE_ZERO_STORE_DEADLINE") or DEADLINE)


def retry_count() -> int:
    """Number of retries in this process so far."""
    return _retries


def with_retries(action: str, call: Callable[[], T]) -> T:
    """The call's value; the call is retried while its errors are transient. `action`: `reading s3://... at http://...`.

    Raises `ANSWERS` as they are, and `StoreFault` for everything else.
    """
    retrying = Retrying(
        retry=retry_if_exception(_is_retried),
        wait=WAIT,
        stop=stop_before_delay(deadline()),
        before_sleep=lambda state: _count(action, state),
        retry_error_callback=lambda state: _give_up(action, state),
    )
    try:
        return retrying(call)
    except (*ANSWERS, StoreFault):
        raise
    except Exception as error:
        raise StoreFault(f"{action}: {describe(error)}") from error


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed in a moment."""
    return any(_is_transient(cause) for cause in causes(error))


def http_status(error: BaseException) -> tuple[int, str]:
    """HTTP status and S3 error code behind an error; (0, "") where the error is no HTTP answer."""
    for cause in causes(error):
        response = getattr(cause, "response", None)
        if isinstance(response, dict):
            code = str(response.get("Error", {}).get("Code", ""))
            return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)), code
    return 0, ""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, its cause, the cause's cause, and so on."""
    while error is not None:
        yield error
        error = error.__cause__


def describe(error: BaseException) -> str:
    """The error in one line, with what to do where that is known."""
    message = " ".join(str(error).split()) or type(error).__name__
    hint = HINTS.get(error.errno or 0) if isinstance(error, OSError) else None
    return f"{message} ({hint})" if hint else message


def _is_retried(error: BaseException) -> bool:
    return not isinstance(error, (*ANSWERS, StoreFault)) and isinstance(error, Exception) and is_transient(error)


def _is_transient(error: BaseException) -> bool:
    status, code = http_status(error)
    if status:
        return status in (409, 429) or (status >= 500 and status != 501) or code in TRANSIENT_CODES
    if isinstance(error, OSError) and error.errno in TRANSIENT_ERRNOS:
        return True
    return isinstance(error, (TimeoutError, ConnectionError, *_connection_errors()))


def _connection_errors() -> tuple[type[BaseException], ...]:
    """Exceptions of client libraries for a broken or silent connection. Only a loaded library can have raised one."""
    names = {
        "botocore.exceptions": ("HTTPClientError", "ConnectionError", "ResponseParserError", "IncompleteReadError"),
        "botocore.parsers": ("ResponseParserError",),
        "aiohttp": ("ClientError",),
        "http.client": ("HTTPException",),
    }
    loaded = ((sys.modules.get(module), classes) for module, classes in names.items())
    return tuple(getattr(module, name) for module, classes in loaded for name in classes if hasattr(module, name))


def _count(action: str, state: RetryCallState) -> None:
    """Count and log the retry that follows a failed attempt."""
    global _retries
    with _counting:
        _retries += 1
    log.warning(
        "%s: attempt %d failed (%s); retry in %.1f s",
        action, state.attempt_number, describe(_error_of(state)), state.upcoming_sleep,
    )  # fmt: skip


def _give_up(action: str, state: RetryCallState) -> NoReturn:
    error, attempts, seconds = _error_of(state), state.attempt_number, state.seconds_since_start or 0.0
    raise StoreFault(f"{action}: gave up after {attempts} tries in {seconds:.0f} s: {describe(error)}") from error


def _error_of(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome else None
    assert error is not None  # only a failed attempt is counted or given up
    return error
