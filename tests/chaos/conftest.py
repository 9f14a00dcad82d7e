"""Two players for all tests of this folder: starting one takes seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tasks.store import Store
from tests.chaos.arena import Player, Undisturbed, player, quick_folder, undisturbed_round


@pytest.fixture(scope="session")
def light() -> Iterator[Player]:
    """Plays light rounds."""
    with player() as one:
        yield one


@pytest.fixture(scope="session")
def rival() -> Iterator[Player]:
    """Another one."""
    with player() as one:
        yield one


@pytest.fixture(scope="session")
def undisturbed(light: Player) -> Undisturbed:
    """The light round that nobody disturbs."""
    return undisturbed_round(light)


@pytest.fixture
def store() -> Iterator[Store]:
    """An empty store that is quick."""
    with quick_folder() as folder:
        yield Store(str(folder))
