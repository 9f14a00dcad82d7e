"""How a stage runs: its complete artifact is reused, or the work runs and is committed.

`@stage` turns a function that returns an `Output` into one that returns an `Artifact`. Inside a flow run it is a
Prefect task; elsewhere (a test, a notebook) a plain call that starts no server. Prefect's retries, the Retry button and
a restart after `kill -9` all take this path, and only the store's manifest decides whether a stage is complete.
Prefect's own result cache stays off: it takes any read error for a miss.
"""

from __future__ import annotations

import functools
import inspect
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
from tasks.execution.flow_context import in_flow_run, in_task_run, run_log
from tasks.execution.gpu_slots import gpu_slots
from tasks.execution.kept import kept_or_own
from tasks.execution.progress import LogLines, also, listen, listening, track
from tasks.execution.stored_progress import StoredProgress
from tasks.records import Row
from tasks.settings.fingerprint import differences, digest, fingerprint_value, marks_not_fingerprinted
from tasks.store import Artifact, DamagedArtifact, Output, PartialResults, Place, StaleArtifact
from tasks.store.faults import is_transient, retry_count

if TYPE_CHECKING:
    from prefect import Task

P = ParamSpec("P")
R = TypeVar("R", bound=Row)

PAUSES = [10.0, 60.0]
"""Seconds before the first and the second retry of a stage that failed with a transient error."""

_reuse_only: ContextVar[bool] = ContextVar("reuse_only", default=False)
_workspace: ContextVar[Path] = ContextVar("workspace")
_partial_results: ContextVar[PartialResults | None] = ContextVar("partial_results", default=None)


def stage(
    name: str, row_type: type[R], version: int = 1, gpu: bool = False
) -> Callable[[Callable[P, Output[R]]], Stage[P, R]]:
    """Declare a stage. Raise `version` when the work changes so that older artifacts must not be reused.

    With `gpu` the work uses GPUs where there are some, and waits for their slots (`gpu_slots`).
    """
    return lambda work: Stage(work, name, row_type, version, gpu)


class NotComplete(Exception):
    """A stage would have to run."""


def if_complete(name: str, work: Callable[[], Artifact[R]]) -> Artifact[R] | None:
    """What `work` returns if all its stages are complete, as one task run `name`; None if one would have to run."""
    try:
        with only_reuse():
            artifact = work()
    except NotComplete:
        return None
    if in_flow_run():
        from prefect import task

        reused = StageResult(artifact, reused=True)
        listed: Any = task(name=name, task_run_name=name, persist_result=False)(lambda: _as_state(reused))
        listed()
    return artifact


@contextmanager
def only_reuse() -> Iterator[None]:
    """Inside the block stages are reused without a task run each; `NotComplete` where one would have to run."""
    token = _reuse_only.set(True)
    try:
        yield
    finally:
        _reuse_only.reset(token)


def reusing() -> bool:
    """Whether stages are only reused here, not run."""
    return _reuse_only.get()


@contextmanager
def own_transaction() -> Iterator[None]:
    """Keep the tasks inside the block out of the transaction of the task around it.

    Prefect would mark them as `RolledBack` where that task fails, but what a stage has committed stays complete.
    """
    from prefect.transactions import BaseTransaction

    around: Any = BaseTransaction.__var__  # holds None outside a transaction
    token = around.set(None)
    try:
        yield
    finally:
        around.reset(token)


def workspace() -> Path:
    """The temporary folder of the running stage; removed once its output is committed."""
    return _workspace.get()


def partial_results() -> PartialResults | None:
    """The partial results of the running stage; None outside a stage."""
    return _partial_results.get()


@dataclass(frozen=True)
class StageResult(Generic[R]):
    """A stage's artifact, and whether it was reused."""

    artifact: Artifact[R]
    reused: bool


@dataclass(frozen=True)
class ExistingArtifact(Generic[R]):
    """The complete artifact at a stage's place."""

    artifact: Artifact[R] | None
    """The artifact to reuse; None where there is none, or it cannot be reused."""
    reasons: list[str]
    """Why the complete artifact cannot be reused."""


class Stage(Generic[P, R]):
    """A callable stage. `work` is the undecorated function."""

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
        """Run or reuse the stage, as a task of the current flow run if there is one.

        A stage that another stage calls is a task only where it runs: the page lists what happens, once.
        """
        if (_reuse_only.get() or in_task_run()) and (complete := self._complete(*args, **kwargs)):
            return complete
        if _reuse_only.get():
            raise NotComplete
        if not in_flow_run():
            return self.run_or_reuse(*args, **kwargs).artifact
        with own_transaction():
            state: Any = self.task(*args, **kwargs)  # what `run` in `task` returns
        artifact: Artifact[R] = state.data.result
        return artifact

    @functools.cached_property
    def task(self) -> Task[P, Any]:
        """The Prefect task, named after the stage and its place. Only transient errors are retried.

        Built at the first use, because Prefect takes seconds to import.
        """
        from prefect import task
        from prefect.cache_policies import NO_CACHE

        def run(*args: P.args, **kwargs: P.kwargs) -> Any:
            return _as_state(self.run_or_reuse(*args, **kwargs))

        run_name: Any = self._run_name
        decorate = task(
            name=self.name,
            task_run_name=run_name,
            cache_policy=NO_CACHE,
            persist_result=False,
            retries=len(PAUSES),
            retry_delay_seconds=PAUSES,
            retry_condition_fn=_failed_transiently,
        )
        return decorate(functools.wraps(self.work)(run))

    def _run_name(self, parameters: dict[str, Any]) -> str:
        """The task run's name in the UI: `round-003/6-filter`."""
        (place,) = [value for value in parameters.values() if isinstance(value, Place)]
        return f"{place.prefix.rpartition('/')[2]}/{place.folder(self.name)}"

    def run_or_reuse(self, *args: P.args, **kwargs: P.kwargs) -> StageResult[R]:
        """Reuse the complete artifact of this fingerprint, else run the work and commit it under the place's lease."""
        place, fingerprinted = self._bind(*args, **kwargs)
        existing = self._existing(place, fingerprinted)
        if dry_run := current_dry_run():
            return self._planned(dry_run, place, fingerprinted, existing)
        if existing.artifact:
            return self._reused(existing.artifact)
        with place.hold(wait=True):
            existing = self._existing(place, fingerprinted)  # again: the lease's last owner may have completed it
            if existing.artifact:
                return self._reused(existing.artifact)
            if existing.reasons:
                run_log().info("%s: runs again: %s", place.folder(self.name), "; ".join(existing.reasons))
            return self._run(place, fingerprinted, lambda: self.work(*args, **kwargs))

    def _run(self, place: Place, fingerprinted: dict[str, JsonValue], work: Callable[[], Output[R]]) -> StageResult[R]:
        name, kept = place.folder(self.name), place.partial_results(self.name, fingerprinted)
        stored = StoredProgress(place, self.name)
        with kept_or_own("gpu", gpu_slots) if self.gpu else nullcontext(), _working(name, kept, stored):
            started, retries_before = time.monotonic(), retry_count()
            output = work()
            seconds = time.monotonic() - started
            artifact = place.commit(self.name, self.row_type, output, fingerprinted, seconds)
            kept.clear()
        run_log().info("%s: %d rows in %.1f s at %s", name, artifact.rows, seconds, artifact.uri)
        if retries := retry_count() - retries_before:
            run_log().warning("%s: %d requests to the store were retried", name, retries)
        return StageResult(artifact, reused=False)

    def _planned(
        self, dry_run: DryRun, place: Place, fingerprinted: dict[str, JsonValue], existing: ExistingArtifact[R]
    ) -> StageResult[R]:
        if existing.artifact and dry_run.add_reuse(place, existing.artifact):
            return StageResult(existing.artifact, reused=True)
        planned = dry_run.add_run(place, place.folder(self.name), self.row_type, fingerprinted, existing.reasons)
        return StageResult(planned, reused=False)

    def _reused(self, artifact: Artifact[R]) -> StageResult[R]:
        run_log().info("%s: reused, %d rows at %s", artifact.manifest.stage, artifact.rows, artifact.uri)
        return StageResult(artifact, reused=True)

    def is_complete(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Whether a call with these arguments would be reused."""
        return self._complete(*args, **kwargs) is not None

    def _complete(self, *args: P.args, **kwargs: P.kwargs) -> Artifact[R] | None:
        return self._existing(*self._bind(*args, **kwargs)).artifact

    def fingerprinted(self, *args: P.args, **kwargs: P.kwargs) -> dict[str, JsonValue]:
        """What a call would compute: stage, version, columns, arguments without places and `NotFingerprinted` ones."""
        return self._bind(*args, **kwargs)[1]

    def _bind(self, *args: P.args, **kwargs: P.kwargs) -> tuple[Place, dict[str, JsonValue]]:
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
            reason = f"made by version {manifest.version} of the stage, now version {self.version}"
            return ExistingArtifact(None, [reason])
        if manifest.fingerprint != digest(fingerprinted):
            return ExistingArtifact(None, differences(manifest.fingerprinted, fingerprinted))
        try:
            return ExistingArtifact(place.artifact(self.row_type, manifest), [])
        except (DamagedArtifact, StaleArtifact) as error:
            return ExistingArtifact(None, [str(error)])


def _fingerprinted_parameters(work: Callable[..., Any]) -> list[str]:
    hints = get_type_hints(work, include_extras=True)
    names = [name for name in inspect.signature(work).parameters if not marks_not_fingerprinted(hints[name])]
    if taken := {"stage", "version", "columns"}.intersection(names):
        raise TypeError(f"{work.__qualname__}: rename {', '.join(sorted(taken))}: the fingerprint uses that name")
    return names


@contextmanager
def _working(name: str, kept: PartialResults, stored: StoredProgress) -> Iterator[None]:
    """The workspace, the partial results and a progress line for the time of the work."""
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder, _progress_in_log(), also(stored), track(None, name):
        old_workspace, old_partial_results = _workspace.set(Path(folder)), _partial_results.set(kept)
        try:
            yield
        finally:
            _workspace.reset(old_workspace)
            _partial_results.reset(old_partial_results)
            stored.clear()


@contextmanager
def _progress_in_log() -> Iterator[None]:
    """Progress goes to the stage's log, unless the caller has set a listener."""
    if listening():
        yield
    else:
        with listen(LogLines(run_log())):
            yield


def _failed_transiently(task: Any, task_run: Any, state: Any) -> bool:
    """Whether a stage failed because the store or the network was unavailable for a moment."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, Exception) and is_transient(error)


def _as_state(result: StageResult[R]) -> Any:
    """The task's final state; a reused stage ends in a state named `Reused`, so that the UI shows it."""
    from prefect.states import Completed

    if result.reused:
        return Completed(name="Reused", message=result.artifact.rows_at, data=result.artifact)
    return Completed(message=result.artifact.rows_at, data=result.artifact)
