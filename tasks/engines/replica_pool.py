"""The replicas of an engine on a Ray cluster, and how parts of the work are given to them.

Replicas come and go with machines. Those that die are replaced as soon as the cluster has room, and their parts go to
others meanwhile. A machine that joins gets a replica if more are wanted. Ray's own ActorPool and its restarts cannot do
this: the parts of an actor whose machine is gone wait for it, and an actor can neither leave the pool nor enter it.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from tasks.settings.errors import UserError, first_line

log = logging.getLogger(__name__)

Part = TypeVar("Part")

RETRIES = 3
"""Times that a lost part goes to another replica before the death is an error: the part may be the cause of it."""
AT_ONCE = 2
"""Parts that a replica has: one at work, and one that waits, so that it is never idle between two."""
LOOK = 5.0
"""Seconds between two looks at the cluster's machines."""
PATIENCE = 600.0
"""Seconds that work may wait without any replica: an autoscaler may need minutes for a machine."""


class ReplicaPool:
    """Replicas, as many as are wanted and have room."""

    def __init__(
        self, ray: Any, start: Callable[[int], Any], wanted: Callable[[], int], get: Callable[[Any], Any]
    ) -> None:
        """Returns once all that are wanted are ready; raises the error with which one could not open.

        `start(n)`: a new actor, the n-th, whose method `load` opens the engine. `wanted()`: how many there should be.
        `get(reference)`: what a method of an actor returned; it raises the errors of Ray and of the engine.
        """
        self._ray, self._start, self._wanted, self._get = ray, start, wanted, get
        self._ready: list[Any] = []
        self._loading: dict[Any, Any] = {}
        """Replicas that open, or wait for room, by Ray's reference to the end of that."""
        self._numbers: dict[Any, int] = {}
        self._deaths = 0
        self._looked, self._worked = 0.0, time.monotonic()
        try:
            self._look()
            while self._loading and not (self._ready and time.monotonic() - self._worked > PATIENCE):
                self._wait(())
                self._look()
        except BaseException:
            self.close()
            raise

    def answers(self, parts: Sequence[Part], submit: Callable[[Any, Part], Any]) -> Iterator[Any]:
        """What Ray has for the reference `submit(replica, part)` of each part, in the order in which they come.

        `submit` is called when a replica has room for the part. RuntimeError for a part whose replicas have died
        `RETRIES` + 1 times, and where no replica is left.
        """
        waiting, lost = deque(range(len(parts))), Counter[int]()
        running: dict[Any, tuple[Any, int]] = {}
        self._worked = time.monotonic()
        while waiting or running:
            self._look()
            while waiting and (replica := self._with_room(running)) is not None:
                number = waiting.popleft()
                running[submit(replica, parts[number])] = replica, number
            for reference in self._wait(running):
                replica, number = running.pop(reference)
                try:
                    answer = self._get(reference)
                except (self._ray.exceptions.RayActorError, self._ray.exceptions.ObjectLostError) as error:
                    self._lose(replica, error)
                    waiting.appendleft(number)
                    lost[number] += 1
                    self._check(lost[number], error)
                else:
                    self._deaths = 0
                    yield answer

    def close(self) -> None:
        """End the replicas."""
        for replica in (*self._ready, *self._loading.values()):
            self._ray.kill(replica)
        self._ready, self._loading = [], {}

    @property
    def ready(self) -> Sequence[Any]:
        """The replicas that have opened."""
        return tuple(self._ready)

    def _look(self) -> None:
        """Start the replicas that are wanted and missing. One without room waits for a machine."""
        if time.monotonic() - self._looked < LOOK:
            return
        self._looked = time.monotonic()
        for _ in range(self._wanted() - len(self._ready) - len(self._loading)):
            number = len(self._numbers) + 1
            replica = self._start(number)
            self._numbers[replica] = number
            self._loading[replica.load.remote()] = replica

    def _with_room(self, running: dict[Any, tuple[Any, int]]) -> Any:
        """The replica with fewest parts, or None if all have enough."""
        loads = Counter(replica for replica, _ in running.values())
        replica = min(self._ready, key=loads.__getitem__, default=None)
        return None if replica is None or loads[replica] == AT_ONCE else replica

    def _wait(self, running: Sequence[Any] | dict[Any, Any]) -> list[Any]:
        """References of `running` that are answered now. Takes in replicas that have opened meanwhile."""
        found, _ = self._ray.wait([*running, *self._loading], num_returns=1, timeout=LOOK)
        answered = [reference for reference in found if reference not in self._loading]
        for reference in set(found) - set(answered):
            replica = self._loading.pop(reference)
            try:
                self._get(reference)
            except self._ray.exceptions.RayActorError as error:
                self._lose(replica, error)
                self._deaths += 1
                self._check(self._deaths, error)
            else:
                self._ready.append(replica)
        self._check_patience()
        return answered

    def _lose(self, replica: Any, error: Exception) -> None:
        """Forget a replica that has died."""
        if replica in self._ready:
            self._ready.remove(replica)
            log.warning("replica %d died, others take its parts: %s", self._numbers[replica], first_line(error))
        self._ray.kill(replica)
        self._looked = 0.0

    def _check(self, deaths: int, error: Exception) -> None:
        if deaths > RETRIES:
            raise RuntimeError(
                f"an engine replica died {deaths} times: too little memory is the usual reason; "
                f"lower engine.rows or engine.replicas ({first_line(error)})"
            ) from error

    def _check_patience(self) -> None:
        if self._ready:
            self._worked = time.monotonic()
        elif self._worked and time.monotonic() - self._worked > PATIENCE:
            raise UserError(
                f"no engine replica is left, and the cluster has had no room for one for {PATIENCE:.0f} s: "
                "add a machine; the same command resumes."
            )
