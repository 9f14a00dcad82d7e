"""Prefect servers that answer, deny access, or do not start; other services; the environment of requests."""

from __future__ import annotations

import base64
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flows.cli.doctor_prefect import checks
from flows.cli.runtime import prepare
from flows.server.deploy import server_url
from flows.server.server import free_port, local_url, start_process, temporary_server, version_at
from tasks.settings.errors import UserError

PASSWORD = "admin:right"


@pytest.fixture(autouse=True)
def nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    for name in ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def password_server() -> Iterator[str]:
    """The API of a server that answers only to `PASSWORD`, as Prefect's does with PREFECT_SERVER_API_AUTH_STRING."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            basic = f"Basic {base64.b64encode(PASSWORD.encode()).decode()}"
            self.send_response(200 if self.headers.get("Authorization") == basic else 401)
            self.end_headers()
            self.wfile.write(b'"3.7.7"')

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield local_url(server.server_port)
        server.shutdown()


@contextmanager
def another_service() -> Iterator[int]:
    """A port with a service that does not speak HTTP."""

    def greet() -> None:
        while True:
            try:
                caller, _ = listening.accept()
            except OSError:
                return
            with caller:
                caller.recv(1000)
                caller.sendall(b"SSH-2.0-OpenSSH_9\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=greet, daemon=True).start()
        yield listening.getsockname()[1]


def test_a_server_with_a_password_answers_to_the_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", PASSWORD)
    with password_server() as url:
        assert version_at(url) == "3.7.7"
        monkeypatch.setenv("PREFECT_API_URL", url)
        assert server_url() == url


def test_the_password_may_be_in_the_active_profile(tmp_path: Path) -> None:
    text = f'active = "mine"\n[profiles.mine]\nPREFECT_API_AUTH_STRING = "{PASSWORD}"\n'
    (tmp_path / "profiles.toml").write_text(text)
    with password_server() as url:
        assert version_at(url) == "3.7.7"


@pytest.mark.parametrize("password", [None, "admin:wrong"])
def test_denied_access_is_the_users_mistake_and_names_the_setting(
    password: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if password:
        monkeypatch.setenv("PREFECT_API_AUTH_STRING", password)
    with password_server() as url, pytest.raises(UserError, match=r"401.*PREFECT_API_AUTH_STRING") as caught:
        version_at(url)
    assert "\n" not in str(caught.value) and "wrong" not in str(caught.value)


def test_a_doctor_reports_a_server_that_denies_access(monkeypatch: pytest.MonkeyPatch) -> None:
    with password_server() as url:
        monkeypatch.setenv("PREFECT_API_URL", url)
        found = checks()
        assert list(found) == ["port", "prefect server"]
        with pytest.raises(UserError, match="PREFECT_API_AUTH_STRING"):
            found["prefect server"]()


def test_another_service_on_the_port_is_no_prefect_server() -> None:
    with another_service() as port:
        assert version_at(local_url(port)) is None
    assert version_at(local_url(free_port())) is None


def test_requests_to_loopback_use_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", local_url(free_port()))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", PASSWORD)
    with password_server() as url:
        assert version_at(url) == "3.7.7"


def test_child_processes_use_no_proxy_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {"http_proxy": "http://proxy:3128", "NO_PROXY": "intern"})
    prepare()
    prepare()  # as in a command that a command starts
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "intern,127.0.0.1,localhost,::1"


def test_a_users_file_named_as_a_library_module_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "datetime.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    assert start_process([sys.executable, "-m", "calendar"], {}).wait(60) == 0


def test_a_server_that_does_not_start_reports_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "h2.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "nonsense")
    with (
        temporary_server(local_url(free_port())) as wait_until_ready,
        pytest.raises(UserError, match=r"ended with exit code 1: .*Could not parse"),
    ):
        wait_until_ready()
