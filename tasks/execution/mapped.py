"""Mapped work: one function on many inputs; inside a flow run as Prefect tasks, elsewhere one call after another.

The flow's task runner decides where mapped tasks run: in threads of this process, or, with prefect-ray's, on any
machine of a Ray cluster. Results come back in the order of the inputs. Where stages are only reused, threads do it
without tasks: a round lists a complete corpus once, not shard by shard.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from tasks.execution.flow_context import in_flow_run
from tasks.execution.stage import own_transaction, reusing

if TYPE_CHECKING:
    from prefect.futures import PrefectFuture

R = TypeVar("R")


def mapped(work: Callable[..., R], calls: Iterable[tuple[Any, ...]], at_once: int, name: str) -> Iterator[R]:
    """`work(*call)` for each call, in order. At most `at_once` tasks are submitted at a time: an error stops the rest.

    `work` is a function at the top of a module, so that another process can import it. `name` names the task runs and
    may use the names of the function's arguments: `shard {listed.name}`.
    """
    if reusing():
        with ThreadPoolExecutor(at_once) as pool:
            yield from [future.result() for future in [pool.submit(copy_context().run, work, *call) for call in calls]]
        return
    if not in_flow_run():
        for call in calls:
            yield work(*call)
        return
    task = _task(work, name)
    submitted: deque[PrefectFuture[R]] = deque()
    for call in calls:
        with own_transaction():
            submitted.append(task.submit(*call))
        if len(submitted) >= at_once:
            yield submitted.popleft().result()
    for future in submitted:
        yield future.result()


def _task(work: Callable[..., R], name: str) -> Any:
    """A Prefect task without caching or stored results: the work itself knows what is complete."""
    from prefect import task
    from prefect.cache_policies import NO_CACHE

    decorate = task(name=work.__name__, task_run_name=name, cache_policy=NO_CACHE, persist_result=False)
    return decorate(work)
