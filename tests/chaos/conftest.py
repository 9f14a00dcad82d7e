"""Two players for all tests of this folder, since starting one takes seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tasks.store import Store
from tests.chaos.arena import Player, Undisturbed, player, quick_folder, undisturbed_round


@pytest.fixture(scope="session")
def light() -> Iterator[Player]:
    """A player of light rounds."""
    with player() as light:
        yield light


@pytest.fixture(scope="session")
def rival() -> Iterator[Player]:
    """A second player of light rounds."""
    with player() as rival:
        yield rival


@pytest.fixture(scope="session")
def undisturbed(light: Player) -> Undisturbed:
    """The light round that nothing disturbs."""
    return undisturbed_round(light)


@pytest.fixture
def store() -> Iterator[Store]:
    """An empty store in memory."""
    with quick_folder() as folder:
        yield Store(str(folder))
