"""What a round keeps open is opened once, by the first stage that needs it, and closed when the round ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tasks.execution.kept import keep_open, kept_or_own


class Door:
    def __init__(self) -> None:
        self.events: list[str] = []

    def __call__(self) -> AbstractContextManager[str]:
        return self._open()

    @contextmanager
    def _open(self) -> Iterator[str]:
        self.events.append("open")
        try:
            yield "room"
        finally:
            self.events.append("close")


def enter(door: Door) -> None:
    with kept_or_own("door", door) as room:
        door.events.append(room)


def test_alone_each_block_opens_and_closes_its_own() -> None:
    door = Door()
    enter(door)
    enter(door)
    assert door.events == ["open", "room", "close"] * 2


def test_a_round_opens_once_and_closes_at_its_end() -> None:
    door = Door()
    with keep_open():
        enter(door)
        enter(door)
    enter(door)
    assert door.events == ["open", "room", "room", "close", "open", "room", "close"]


def test_an_error_in_the_round_closes_what_is_open() -> None:
    door = Door()

    @keep_open()
    def play() -> None:
        enter(door)
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        play()
    assert door.events == ["open", "room", "close"]
