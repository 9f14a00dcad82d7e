"""The same work on many things, several at a time: in a flow run as mapped tasks, elsewhere one after another.

Where mapped tasks run is the flow run's task runner's affair: threads of this process, or, with prefect-ray's, any
machine of a Ray cluster. What the work gives comes back in order, so who collects it need not know.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from tasks.execution.stage import in_flow_run

if TYPE_CHECKING:
    from prefect.futures import PrefectFuture

R = TypeVar("R")


def mapped(work: Callable[..., R], calls: Iterable[tuple[Any, ...]], at_once: int, name: str) -> Iterator[R]:
    """`work(*call)` for each call, in order. At most `at_once` are under way, so that an error stops the rest.

    `work` is a function of a module, so that another process can find it. `name` names the tasks and may use the
    names of its arguments: `shard {listed.name}`.
    """
    if not in_flow_run():
        for call in calls:
            yield work(*call)
        return
    task = _task(work, name)
    under_way: deque[PrefectFuture[R]] = deque()
    for call in calls:
        under_way.append(task.submit(*call))
        if len(under_way) >= at_once:
            yield under_way.popleft().result()
    for future in under_way:
        yield future.result()


def _task(work: Callable[..., R], name: str) -> Any:
    """Without caching or stored results: what is done already is for the work itself to know."""
    from prefect import task
    from prefect.cache_policies import NO_CACHE

    decorate = task(name=work.__name__, task_run_name=name, cache_policy=NO_CACHE, persist_result=False)
    return decorate(work)
