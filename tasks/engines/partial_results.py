"""A stage's long work in parts, each kept in the store as soon as it is done: a killed stage goes on after the last.

What the roles sample is cut into parts of about `PART` completions, always in the same places, so that a stage that was
killed samples exactly what it would have sampled. A part that took less than `WORTH_KEEPING` seconds is not kept: it is
quicker sampled again.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple
from pathlib import Path

from pydantic import JsonValue, TypeAdapter

from tasks.engines.request import Completion, Request
from tasks.settings.fingerprint import digest
from tasks.store.partial_results import PartialResults

PART = 4096
"""Completions of a part: eight of the embedded engine's waves, some minutes of a large model."""
WORTH_KEEPING = 5.0
"""Seconds of work that are worth a file in the store."""

log = logging.getLogger(__name__)

_COMPLETIONS = TypeAdapter(list[list[Completion]])


def parts(requests: Sequence[Request]) -> Iterator[Sequence[Request]]:
    """The requests in slices of at most `PART` completions, or of one request."""
    start, size = 0, 0
    for end, request in enumerate(requests):
        if size and size + request.n > PART:
            yield requests[start:end]
            start, size = end, 0
        size += request.n
    if requests:
        yield requests[start:]


def sampled(
    partial: PartialResults | None,
    requests: Sequence[Request],
    generate: Callable[[Sequence[Request]], list[list[Completion]]],
    on_found: Callable[[int], None],
) -> list[list[Completion]]:
    """Completions of each request: from the partial where their part is there, else generated and kept.

    `on_found(k)` for k completions that need not be sampled again.
    """
    found: list[list[Completion]] = []
    for part in parts(requests):
        name = f"completions-{digest([_told(request) for request in part])[:32]}"
        groups = _read(partial, name) if partial else None
        if groups is None:
            started = time.monotonic()
            groups = generate(part)
            if partial and time.monotonic() - started >= WORTH_KEEPING:
                _write(partial, name, groups)
        else:
            on_found(sum(map(len, groups)))
        found += groups
    return found


def _told(request: Request) -> list[JsonValue]:
    """Everything that decides a request's outcome within one stage: pictures and adapters are told by their names."""
    prompt, picture, adapter = request.prompt, request.picture, request.adapter
    shown = [prompt.system, prompt.user, picture and picture.key, adapter and adapter.name]
    return [*shown, *astuple(request.sampling), request.n, request.seed, request.first]


def _read(partial: PartialResults, name: str) -> list[list[Completion]] | None:
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / name
        if not partial.fetch(name, local):
            return None
        try:
            return _COMPLETIONS.validate_json(local.read_bytes())
        except ValueError:  # kept by another version of this program
            log.warning("partial result %s is of another version: it is sampled again", name)
            partial.discard(name)
            return None


def _write(partial: PartialResults, name: str, groups: list[list[Completion]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / name
        local.write_bytes(_COMPLETIONS.dump_json(groups))
        partial.keep(name, local)
