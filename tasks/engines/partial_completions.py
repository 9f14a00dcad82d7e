"""Keeps completions in the store while a stage runs, so that a stage that is killed resumes after the last kept chunk.

A stage's requests are cut into chunks of about `CHUNK` completions, always at the same places, so that a resumed stage
gets the completions that an uninterrupted one gets. Chunks of the first `WORTH_KEEPING` seconds are not kept: sampling
them again is quicker.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple
from pathlib import Path

from pydantic import JsonValue, TypeAdapter

from tasks.engines.request import Completion, Request
from tasks.settings.fingerprint import digest
from tasks.store.partial_results import PartialResults

CHUNK = 4096
"""Completions of a chunk: eight batches of the transformers engine, or some minutes of a large model."""
WORTH_KEEPING = 5.0
"""Seconds of sampling that are worth a file in the store."""

log = logging.getLogger(__name__)

_COMPLETIONS = TypeAdapter(list[list[Completion]])


def generate_or_resume(
    partial: PartialResults | None,
    requests: Sequence[Request],
    stream: Callable[[Sequence[Sequence[Request]]], Iterable[tuple[int, list[list[Completion]]]]],
    on_resumed: Callable[[int], None],
) -> list[list[Completion]]:
    """Completions of each request, in order: chunks found in `partial` are read, the others generated and kept.

    `stream` is `Engine.stream`, and is called if any chunk is missing. `on_resumed(k)` is called for k completions that
    were read.
    """
    parts = list(chunks(requests))
    names = [f"completions-{digest([_values(request) for request in part])[:32]}" for part in parts]
    found = [_read(partial, name) if partial else None for name in names]
    on_resumed(sum(len(group) for groups in found if groups is not None for group in groups))
    missing = [number for number, groups in enumerate(found) if groups is None]
    started = time.monotonic()
    for position, groups in stream([parts[number] for number in missing]) if missing else ():
        found[missing[position]] = groups
        if partial and time.monotonic() - started >= WORTH_KEEPING:
            _write(partial, names[missing[position]], groups)
    return [group for groups in found for group in groups or ()]


def chunks(requests: Sequence[Request]) -> Iterator[Sequence[Request]]:
    """The requests in slices of at most `CHUNK` completions; a larger request is a slice of its own."""
    start, size = 0, 0
    for end, request in enumerate(requests):
        if size and size + request.n > CHUNK:
            yield requests[start:end]
            start, size = end, 0
        size += request.n
    if requests:
        yield requests[start:]


def _values(request: Request) -> list[JsonValue]:
    """Everything that decides a request's completions within one stage; pictures and adapters by their names."""
    prompt, picture, adapter = request.prompt, request.picture, request.adapter
    names = [prompt.system, prompt.user, picture and picture.key, adapter and adapter.name]
    return [*names, *astuple(request.sampling), request.n, request.seed, request.first]


def _read(partial: PartialResults, name: str) -> list[list[Completion]] | None:
    """The chunk of that name; None if there is none, or if another version of this program wrote it."""
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / name
        if not partial.fetch(name, local):
            return None
        try:
            return _COMPLETIONS.validate_json(local.read_bytes())
        except ValueError:
            log.warning("partial result %s was written by another version: its completions are sampled again", name)
            partial.discard(name)
            return None


def _write(partial: PartialResults, name: str, groups: list[list[Completion]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / name
        local.write_bytes(_COMPLETIONS.dump_json(groups))
        partial.keep(name, local)
