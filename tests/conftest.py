"""Settings of all tests. Environment variables are set before torch and Prefect are imported."""

from __future__ import annotations

import os
from collections.abc import Iterator

os.environ["OMP_NUM_THREADS"] = "1"  # two threads on a busy machine are slower than one
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"  # it keeps the stderr of its import
os.environ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "120"  # a new database takes more than 20

import pytest
from hypothesis import settings

settings.register_profile("shared-machine", deadline=None)  # a busy machine is not a failure
settings.load_profile("shared-machine")


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A Prefect server for the test session, with a new database. Starts in 20 s; in minutes on a busy machine."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=300):
        yield
