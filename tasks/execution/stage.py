"""The one way a stage runs: found complete and reused, or played and committed.

`@stage` turns a function that returns an `Output` into one that returns an `Artifact`. Inside a flow run it is a
Prefect task; elsewhere (a test, a notebook) a plain call that starts no server. Prefect's retries, the Retry button and
a restart after `kill -9` all come through here, and the store's manifest alone decides whether the work is done:
Prefect's own result cache takes any read error for a miss, so it stays off.
"""

from __future__ import annotations

import functools
import inspect
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, get_type_hints

from pydantic import JsonValue

from tasks.execution.dry_run import DryRun, current_dry_run
from tasks.execution.progress import LogLines, listen, listening, track
from tasks.records import Row
from tasks.settings.fingerprint import differences, digest, fingerprint_value, marks_not_fingerprinted
from tasks.store import Artifact, DamagedArtifact, Output, PartialResults, Place
from tasks.store.faults import is_transient, retry_count

if TYPE_CHECKING:
    from prefect import Task

P = ParamSpec("P")
R = TypeVar("R", bound=Row)

PAUSES = [10.0, 60.0]
"""Seconds before a stage is tried again whose error may pass by itself."""
GPU = "gpu"
"""The server's limit on stages that use the GPU."""
GPU_LEASE = 60.0
"""Seconds after which the server gives a slot back whose holder is silent, since it was killed."""

_workspace: ContextVar[Path] = ContextVar("workspace")
_partial_results: ContextVar[PartialResults | None] = ContextVar("partial_results", default=None)


def stage(
    name: str, row_type: type[R], version: int = 1, gpu: bool = False
) -> Callable[[Callable[P, Output[R]]], Stage[P, R]]:
    """Declare a stage. Raise `version` when its work changes so that older artifacts must not be reused.

    With `gpu` its work runs on the GPU where there is one, and waits until no other run's stage does.
    """
    return lambda work: Stage(work, name, row_type, version, gpu)


def workspace() -> Path:
    """The temporary folder of the stage that is being played; removed once its output is committed."""
    return _workspace.get()


def partial_results() -> PartialResults | None:
    """Where the stage that is being played keeps what it has so far; None outside a stage."""
    return _partial_results.get()


@dataclass(frozen=True)
class StageResult(Generic[R]):
    """A stage's artifact, and whether it was there already."""

    artifact: Artifact[R]
    reused: bool


@dataclass(frozen=True)
class ExistingArtifact(Generic[R]):
    """What lies where a stage would put its artifact."""

    artifact: Artifact[R] | None
    """The one to reuse."""
    reasons: list[str]
    """Why one that is there cannot be reused."""


class Stage(Generic[P, R]):
    """A stage that can be called. `work` is the bare function."""

    def __init__(
        self, work: Callable[P, Output[R]], name: str, row_type: type[R], version: int, gpu: bool = False
    ) -> None:
        self.work = work
        self.name = name
        self.row_type = row_type
        self.version = version
        self.gpu = gpu
        self._signature = inspect.signature(work)
        self._parameters = _fingerprinted_parameters(work)
        functools.update_wrapper(self, work)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Artifact[R]:
        """Play or reuse, as a task of the current flow run if there is one."""
        if not in_flow_run():
            return self.play(*args, **kwargs).artifact
        state: Any = self.task(*args, **kwargs)  # called directly, a task hands on the state that it returned
        artifact: Artifact[R] = state.data.result
        return artifact

    @functools.cached_property
    def task(self) -> Task[P, Any]:
        """The Prefect task, named after the stage and its place; tried again only after what passes by itself.

        Built at the first use, since Prefect takes seconds to import.
        """
        from prefect import task
        from prefect.cache_policies import NO_CACHE

        def run(*args: P.args, **kwargs: P.kwargs) -> Any:
            return _as_state(self.play(*args, **kwargs))

        run_name: Any = self._run_name
        decorate = task(
            name=self.name,
            task_run_name=run_name,
            cache_policy=NO_CACHE,
            persist_result=False,
            retries=len(PAUSES),
            retry_delay_seconds=PAUSES,
            retry_condition_fn=_may_pass,
        )
        return decorate(functools.wraps(self.work)(run))

    def _run_name(self, parameters: dict[str, Any]) -> str:
        """`round-003/6-filter`: what a person sees of the stage's address."""
        (place,) = [value for value in parameters.values() if isinstance(value, Place)]
        return f"{place.prefix.rpartition('/')[2]}/{place.folder(self.name)}"

    def play(self, *args: P.args, **kwargs: P.kwargs) -> StageResult[R]:
        """Reuse the complete artifact of this fingerprint, else do the work and commit it under the place's lease."""
        place, fingerprinted = self._bound(*args, **kwargs)
        existing = self._existing(place, fingerprinted)
        if dry_run := current_dry_run():
            return self._planned(dry_run, place, fingerprinted, existing)
        if existing.artifact:
            return self._reused(existing.artifact)
        with place.hold(wait=True):
            existing = self._existing(place, fingerprinted)  # again: the lease's last holder may have completed it
            if existing.artifact:
                return self._reused(existing.artifact)
            if existing.reasons:
                _log().info("%s: runs again: %s", place.folder(self.name), "; ".join(existing.reasons))
            return self._run(place, fingerprinted, lambda: self.work(*args, **kwargs))

    def _run(self, place: Place, fingerprinted: dict[str, JsonValue], work: Callable[[], Output[R]]) -> StageResult[R]:
        name, kept = place.folder(self.name), place.partial_results(self.name, fingerprinted)
        with _turn_on_gpu() if self.gpu else nullcontext(), _working(name, kept):
            started, retries_before = time.monotonic(), retry_count()
            output = work()
            seconds = time.monotonic() - started
            artifact = place.commit(self.name, self.row_type, output, fingerprinted, seconds)
            kept.clear()
        _log().info("%s: %d rows in %.1f s at %s", name, artifact.rows, seconds, artifact.uri)
        if again := retry_count() - retries_before:
            _log().warning("%s: %d requests to the store were repeated", name, again)
        return StageResult(artifact, reused=False)

    def _planned(
        self, dry_run: DryRun, place: Place, fingerprinted: dict[str, JsonValue], existing: ExistingArtifact[R]
    ) -> StageResult[R]:
        if existing.artifact and dry_run.reused(place, existing.artifact):
            return StageResult(existing.artifact, reused=True)
        planned = dry_run.played(place, place.folder(self.name), self.row_type, fingerprinted, existing.reasons)
        return StageResult(planned, reused=False)

    def _reused(self, artifact: Artifact[R]) -> StageResult[R]:
        _log().info("%s: reused, %d rows at %s", artifact.manifest.stage, artifact.rows, artifact.uri)
        return StageResult(artifact, reused=True)

    def is_complete(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Whether this very call is done already, so that it would be reused."""
        return self._existing(*self._bound(*args, **kwargs)).artifact is not None

    def fingerprinted(self, *args: P.args, **kwargs: P.kwargs) -> dict[str, JsonValue]:
        """What a call would compute: stage, version, columns, arguments without places and `NotFingerprinted` ones."""
        return self._bound(*args, **kwargs)[1]

    def _bound(self, *args: P.args, **kwargs: P.kwargs) -> tuple[Place, dict[str, JsonValue]]:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        (place,) = [value for value in bound.arguments.values() if isinstance(value, Place)]
        return place, {
            "stage": self.name,
            "version": self.version,
            "columns": {column.name: str(column.type) for column in self.row_type.arrow_schema()},
            **self._arguments(bound.arguments),
        }

    def _arguments(self, values: Mapping[str, Any]) -> dict[str, JsonValue]:
        try:
            return {
                name: fingerprint_value(values[name])
                for name in self._parameters
                if not isinstance(values[name], Place)
            }
        except TypeError as error:
            raise TypeError(f"stage {self.name}: {error}") from None

    def _existing(self, place: Place, fingerprinted: dict[str, JsonValue]) -> ExistingArtifact[R]:
        manifest = place.manifest(self.name)
        if manifest is None:
            return ExistingArtifact(None, [])
        if manifest.version != self.version:
            return ExistingArtifact(None, [f"version {manifest.version} of the stage made it, this is {self.version}"])
        if manifest.fingerprint != digest(fingerprinted):
            return ExistingArtifact(None, differences(manifest.fingerprinted, fingerprinted))
        try:
            return ExistingArtifact(place.artifact(self.row_type, manifest), [])
        except DamagedArtifact as error:
            return ExistingArtifact(None, [str(error)])


def _fingerprinted_parameters(work: Callable[..., Any]) -> list[str]:
    hints = get_type_hints(work, include_extras=True)
    names = [name for name in inspect.signature(work).parameters if not marks_not_fingerprinted(hints[name])]
    if taken := {"stage", "version", "columns"}.intersection(names):
        raise TypeError(f"{work.__qualname__}: rename {', '.join(sorted(taken))}: a fingerprint has such a field")
    return names


@contextmanager
def _working(name: str, kept: PartialResults) -> Iterator[None]:
    """A temporary folder, the partial results and a progress line for the time of the work."""
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder, _progress_in_log(), track(None, name):
        workspace, partial = _workspace.set(Path(folder)), _partial_results.set(kept)
        try:
            yield
        finally:
            _workspace.reset(workspace)
            _partial_results.reset(partial)


@contextmanager
def _progress_in_log() -> Iterator[None]:
    """Unless somebody shows the progress already, it goes where the stage's log goes."""
    if listening():
        yield
    else:
        with listen(LogLines(_log())):
            yield


@contextmanager
def _turn_on_gpu() -> Iterator[None]:
    """One stage at a time on this server's GPU, in a flow run and where there is one; without a limit no waiting."""
    if not in_flow_run() or not _has_gpu():
        yield
        return
    from prefect.concurrency.sync import concurrency

    with concurrency(GPU, lease_duration=GPU_LEASE):
        yield


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _may_pass(task: Any, task_run: Any, state: Any) -> bool:
    """Whether a stage may do better in a moment: the store or the network was away. Nothing else is tried again."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, Exception) and is_transient(error)


def _as_state(played: StageResult[R]) -> Any:
    """A reused stage ends in a state of its own name, so that the UI shows it."""
    from prefect.states import Completed

    if played.reused:
        return Completed(name="Reused", message=played.artifact.uri, data=played.artifact)
    return Completed(message=played.artifact.uri, data=played.artifact)


def in_flow_run() -> bool:
    """Whether a Prefect flow is running here. Asking imports nothing."""
    if "prefect" not in sys.modules:
        return False
    from prefect.context import FlowRunContext

    return FlowRunContext.get() is not None


def _log() -> Any:
    """The run's logger inside a Prefect run, so that the UI shows the lines; else the module's."""
    if "prefect" in sys.modules:
        from prefect.exceptions import MissingContextError
        from prefect.logging import get_run_logger

        try:
            return get_run_logger()
        except MissingContextError:
            pass
    return logging.getLogger(__name__)
