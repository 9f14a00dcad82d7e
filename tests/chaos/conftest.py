"""Two players for all tests of this folder, since starting one takes seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tasks.store import Store
from tests.chaos.arena import Player, Undisturbed, player, quick_folder, undisturbed_round
from tests.fixtures.faulty_bucket import Bucket, faulty_server, new_bucket


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


@pytest.fixture(params=["small", "real"], scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    """An S3 server that can make faults."""
    with faulty_server(request.param, tmp_path_factory.mktemp("s3") / "data") as server:
        yield server


@pytest.fixture
def bucket(server: Bucket) -> Iterator[Bucket]:
    """A new bucket on it."""
    yield new_bucket(server)
    server.line.refused = server.line.lost = server.line.delay = 0.0
