"""What a stage opens and the stages after it use, too: it stays open until the end of the round.

A stage alone closes what it opens. In a `keep_open` block the first stage that needs a thing opens it, and the block's
end closes it, the latest first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar, cast

T = TypeVar("T")


class Kept:
    """The things that are open, by name."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack, self._open = stack, dict[str, Any]()

    def get(self, name: str, opened: Callable[[], AbstractContextManager[T]]) -> T:
        """The open thing of that name, entered now if it is the first time."""
        if name not in self._open:
            self._open[name] = self._stack.enter_context(opened())
        return cast(T, self._open[name])


_kept: ContextVar[Kept | None] = ContextVar("kept", default=None)


@contextmanager
def keep_open() -> Iterator[None]:
    """What stages open in this block for others stays open until its end."""
    with ExitStack() as stack:
        token = _kept.set(Kept(stack))
        try:
            yield
        finally:
            _kept.reset(token)


@contextmanager
def kept_or_own(name: str, opened: Callable[[], AbstractContextManager[T]]) -> Iterator[T]:
    """The thing that the surrounding `keep_open` block keeps under that name; outside one, a thing of this block."""
    if (kept := _kept.get()) is not None:
        yield kept.get(name, opened)
        return
    with opened() as own:
        yield own
