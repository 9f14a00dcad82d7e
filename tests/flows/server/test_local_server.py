"""Which server a local command takes, and what it says where none can be had."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator

import pytest

from flows.server import server
from tasks.settings.errors import UserError


@pytest.fixture(autouse=True)
def without_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a command: Prefect is imported after the server was chosen."""
    for name in [name for name in sys.modules if name == "prefect"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.fixture
def mute() -> Iterator[str]:
    """The API of a server that accepts connections and never replies."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/api"


def test_a_configured_server_that_is_mute_costs_a_warning(
    mute: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", mute)
    monkeypatch.setattr(server, "version_at", lambda url, timeout=1.0: None if url == mute else "3.7")
    with server.prefect_server() as wait_until_ready:
        wait_until_ready()
        assert os.environ["PREFECT_API_URL"] == server.local_url()
    assert os.environ["PREFECT_API_URL"] == mute
    assert [record.message for record in caplog.records] == [
        f"the Prefect server at {mute} does not answer: this run is recorded on this machine alone"
    ]


def test_a_home_that_cannot_be_written_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", "/proc/nothing")
    monkeypatch.setattr(server, "version_at", lambda url, timeout=1.0: None)
    monkeypatch.setattr(server, "configured_url", lambda: None)
    with (
        pytest.raises(UserError, match=r"/proc/nothing cannot be written .*: set PREFECT_HOME"),
        server.prefect_server(),
    ):
        pass


def test_a_server_that_does_not_start_says_why_and_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [sys.executable, "-c", "raise RuntimeError(\"Can't locate revision identified by 'abc'\")"]
    original = server.start_process
    monkeypatch.setattr(server, "start_process", lambda command, *rest: original(broken, *rest))
    with (
        server.temporary_server(server.local_url(server.free_port())) as wait_until_ready,
        pytest.raises(UserError, match=r"Can't locate revision .*: set PREFECT_HOME to an empty folder"),
    ):
        wait_until_ready()
