"""What `active-zero ui` finds out before it starts anything."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from flows.cli.main import USER, command
from flows.server import ui as cli_ui


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_another_service_holds_is_the_users_mistake_and_nothing_is_started(
    host: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_ui, "started", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with socket.create_server((host, 0)) as other:
        port = other.getsockname()[1]
        assert command(["ui", "--port", str(port)]) == USER
    (line,) = capsys.readouterr().err.splitlines()
    assert f"port {port}" in line and "--port" in line
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_was_just_let_go_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as before:
        port = before.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            before.accept()[0].close()
    cli_ui._refuse_taken(port)
