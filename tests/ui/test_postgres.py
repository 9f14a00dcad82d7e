"""A Prefect server on PostgreSQL, as `infra/compose.yaml` runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.server.server import end_process, free_port, local_url, start_process, version_at, wait_for_server
from tests.ui.conftest import ROOT

pytestmark = [pytest.mark.ui, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of an empty database. PostgreSQL refuses to run as root, so root starts it under another account."""
    if not (shutil.which("initdb") and shutil.which("pg_ctl")):
        pytest.skip("no PostgreSQL: initdb and pg_ctl are not on the path")
    port, account = free_port(), "postgres" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory() as folder:
        if account:
            shutil.chown(folder, account)

        def run(*command: str) -> None:
            done = subprocess.run(command, user=account, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            assert done.returncode == 0, done.stderr

        run("initdb", "-D", f"{folder}/data", "-U", "prefect", "-A", "trust")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        control = ("pg_ctl", "-D", f"{folder}/data", "-w", "-t", "120")
        run(*control, "-o", options, "-l", f"{folder}/log", "start")
        try:
            yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres"
        finally:
            run(*control, "-m", "immediate", "stop")


def test_a_server_on_postgresql_accepts_everything_deploy_registers(postgres: str, tmp_path: Path) -> None:
    port = free_port()
    home = {"PREFECT_HOME": str(tmp_path)}
    environment = {**home, "PREFECT_API_DATABASE_CONNECTION_URL": postgres, "PREFECT_API_URL": ""}
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    server = start_process(command, environment)
    try:
        wait_for_server(local_url(port), server)
        assert version_at(local_url(port)) == "3.7.7"
        client = {**os.environ, **home, "PREFECT_API_URL": local_url(port), "PYTHONPATH": str(ROOT)}
        for _ in range(2):  # the second one updates what the first has registered
            subprocess.run([sys.executable, "-m", "flows.cli", "deploy"], env=client, check=True, timeout=300)
        template = ROOT / "infra" / "kubernetes" / "base-job-template.json"
        pool = ["work-pool", "create", "cluster", "--type", "kubernetes", "--base-job-template", str(template)]
        subprocess.run([sys.executable, "-m", "prefect", *pool], env=client, check=True, timeout=120)
    finally:
        end_process(server)
    assert not list(tmp_path.glob("*.db"))
