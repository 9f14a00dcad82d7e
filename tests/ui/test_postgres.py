"""The server of `infra/compose.yaml` on its database: PostgreSQL, really run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.cli_server import end, free_port, local_url, started, version_at, wait_for
from tests.ui.conftest import ROOT

pytestmark = [pytest.mark.ui, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an empty database."""
    if not (shutil.which("initdb") and shutil.which("pg_ctl")):
        pytest.skip("no PostgreSQL: initdb and pg_ctl are not on the path")
    folder, port = tmp_path_factory.mktemp("postgres") / "data", free_port()
    made = subprocess.run(["initdb", "-D", str(folder), "-U", "prefect", "-A", "trust"], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
    control = ["pg_ctl", "-D", str(folder), "-w", "-t", "120"]
    start = [*control, "-o", options, "-l", f"{folder}.log", "start"]
    subprocess.run(start, check=True, stdout=subprocess.DEVNULL)
    try:
        yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, stdout=subprocess.DEVNULL)


def test_the_server_runs_on_postgresql_and_takes_all_that_deploy_registers(postgres: str, tmp_path: Path) -> None:
    port = free_port()
    home = {"PREFECT_HOME": str(tmp_path)}
    environment = {**home, "PREFECT_API_DATABASE_CONNECTION_URL": postgres, "PREFECT_API_URL": ""}
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    server = started(command, environment)
    try:
        wait_for(local_url(port), server)
        assert version_at(local_url(port)) == "3.7.7"
        client = {**os.environ, **home, "PREFECT_API_URL": local_url(port), "PYTHONPATH": str(ROOT)}
        for _ in range(2):  # twice, since the second finds everything there
            subprocess.run([sys.executable, "-m", "flows.cli", "deploy"], env=client, check=True, timeout=300)
        template = ROOT / "infra" / "kubernetes" / "base-job-template.json"
        pool = ["work-pool", "create", "cluster", "--type", "kubernetes", "--base-job-template", str(template)]
        subprocess.run([sys.executable, "-m", "prefect", *pool], env=client, check=True, timeout=120)
    finally:
        end(server)
    assert not list(tmp_path.glob("*.db"))
