"""What `active-zero ui` checks before it starts anything."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from flows.cli.main import USER, command
from flows.server import ui


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_taken_port_is_the_users_mistake_and_starts_nothing(
    host: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ui, "start_process", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with socket.create_server((host, 0)) as other:
        port = other.getsockname()[1]
        assert command(["ui", "--port", str(port)]) == USER
    (line,) = capsys.readouterr().err.splitlines()
    assert f"port {port}" in line and "--port" in line
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_was_just_released_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as before:
        port = before.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            before.accept()[0].close()
    ui.check_port(port)
