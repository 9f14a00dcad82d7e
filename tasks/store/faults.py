"""When a store throttles, breaks or is slow: try again, with pauses and an end; then one clear error.

Every request to a store that can fail for a moment goes through `persistently`. A pause is drawn at random below a
bound that doubles up to a cap ("full jitter": processes that were refused together do not come back together), and all
tries share one deadline. Each further try is counted and logged, and a stage says the count when it ends.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
DEADLINE = 120.0
"""Seconds from the first try to the last; `ACTIVE_ZERO_STORE_DEADLINE` says otherwise."""

PASSING = {
    errno.EAGAIN, errno.EBUSY, errno.ECONNRESET, errno.ECONNREFUSED, errno.EPIPE, errno.ETIMEDOUT, errno.EREMOTEIO,
}  # fmt: skip
PASSING_CODES = {"RequestTimeout", "BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "OperationAborted"}
"""S3's error codes below 500 that are nobody's fault but the line's. Throttling is 503 or 429."""
ANSWERS = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)
"""Exceptions that tell what is there: answers of a store that works."""

NO_LINKS = "a disk without hard links, or no right to write: set ACTIVE_ZERO_STORE to another disk, or an S3 server"
"""A commit is a link, since that is made for one of all who try; FAT and some network disks have none."""

_counting = threading.Lock()
_repeated = 0


class StoreFault(Exception):
    """The store could not do what it was asked to: names the object, the endpoint, and what to do."""


def deadline() -> float:
    """Seconds that a request may take with all its tries."""
    return float(os.environ.get("ACTIVE_ZERO_STORE_DEADLINE") or DEADLINE)


def repeated() -> int:
    """How many requests of this process had to be repeated so far."""
    return _repeated


def persistently(what: str, call: Callable[[], T]) -> T:
    """The call's value, tried again while its errors are of the passing kind. `what`: `reading s3://... at http://...`.

    Raises the `ANSWERS` as they are, and `StoreFault` for everything else.
    """
    started, limit = time.monotonic(), deadline()
    for tries, pause in enumerate(pauses(), 1):
        try:
            return call()
        except (*ANSWERS, StoreFault):
            raise
        except Exception as error:
            if not passing(error):
                raise StoreFault(f"{what}: {advice(error)}") from error
            gone = time.monotonic() - started
            if gone + pause > limit:
                raise StoreFault(f"{what}: gave up after {tries} tries in {gone:.0f} s: {advice(error)}") from error
            _count(what, error, tries, pause)
        time.sleep(pause)
    raise AssertionError("pauses never end")


def pauses() -> Iterator[float]:
    """Seconds to wait after the first try, the second, ..."""
    for tries in itertools.count():
        yield random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2**tries))


def passing(error: BaseException) -> bool:
    """Whether the same request may do better in a moment."""
    return any(_passes(one) for one in causes(error))


def status_of(error: BaseException) -> tuple[int, str]:
    """HTTP status and S3 error code of what lies behind an error; (0, "") where it was no HTTP answer."""
    for one in causes(error):
        response = getattr(one, "response", None)
        if isinstance(response, dict):
            code = str(response.get("Error", {}).get("Code", ""))
            return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)), code
    return 0, ""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what caused it, and so on."""
    while error is not None:
        yield error
        error = error.__cause__


def advice(error: BaseException) -> str:
    """The error in one line, with what to do where that is known."""
    told = " ".join(str(error).split()) or type(error).__name__
    known = {
        errno.ENOSPC: "make room on the disk, and run again",
        errno.EDQUOT: "make room in the quota, and run again",
        errno.EFBIG: "the file is larger than this file system or process may write",
        errno.EROFS: "the store is read-only: make it writable, or set ACTIVE_ZERO_STORE",
        errno.EACCES: "no right to write there: change it, or set ACTIVE_ZERO_STORE",
        errno.EPERM: NO_LINKS,
        errno.EOPNOTSUPP: NO_LINKS,
    }
    hint = known.get(error.errno or 0) if isinstance(error, OSError) else None
    return f"{told} ({hint})" if hint else told


def _passes(error: BaseException) -> bool:
    status, code = status_of(error)
    if status:
        return status in (409, 429) or (status >= 500 and status != 501) or code in PASSING_CODES
    if isinstance(error, OSError) and error.errno in PASSING:
        return True
    return isinstance(error, (TimeoutError, ConnectionError, *_of_clients()))


def _of_clients() -> tuple[type[BaseException], ...]:
    """What the libraries beneath raise for a broken or silent line. Only those that are loaded can have raised."""
    names = {
        "botocore.exceptions": ("HTTPClientError", "ConnectionError", "ResponseParserError", "IncompleteReadError"),
        "botocore.parsers": ("ResponseParserError",),
        "aiohttp": ("ClientError",),
        "http.client": ("HTTPException",),
    }
    loaded = ((sys.modules.get(module), classes) for module, classes in names.items())
    return tuple(getattr(module, name) for module, classes in loaded for name in classes if hasattr(module, name))


def _count(what: str, error: BaseException, tries: int, pause: float) -> None:
    global _repeated
    with _counting:
        _repeated += 1
    log.warning("%s: try %d failed (%s); again in %.1f s", what, tries, advice(error), pause)
